"""What single scrapes showed of a model's latency: the earliest that anybody could have known of it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

import httpx

from e2e.cluster.prometheus import Prometheus

_BUCKET = ":tensorflow:serving:request_latency_bucket"

Samples = Mapping[float, float]
"""Values by time in seconds."""


@dataclass(frozen=True)
class ScrapeInterval:
    """What one pod answered between two scrapes of it."""

    pod: str
    until: datetime
    """Time of the second scrape."""
    requests: float
    good: float

    @property
    def share(self) -> float:
        """Share of requests within the edge; 1 without any."""
        return self.good / self.requests if self.requests else 1.0


def scrape_intervals(
    prometheus: Prometheus, namespace: str, edge_label: str, *, last_seconds: int
) -> list[ScrapeInterval]:
    """Return what each scrape of the last seconds showed, oldest first; ``edge_label`` is one of the server's own."""
    good = _samples_by_pod(prometheus, namespace, edge_label, last_seconds)
    total = _samples_by_pod(prometheus, namespace, r"\\+Inf", last_seconds)
    intervals = [
        interval for pod, samples in total.items() for interval in differences(pod, samples, good.get(pod, {}))
    ]
    return sorted(intervals, key=lambda interval: interval.until)


def differences(pod: str, total: Samples, good: Samples) -> list[ScrapeInterval]:
    """Return the intervals between the scrapes of one pod; a counter that falls was reset, and says nothing."""
    times = sorted(total)
    return [
        ScrapeInterval(
            pod, datetime.fromtimestamp(end, UTC), total[end] - total[start], good.get(end, 0.0) - good.get(start, 0.0)
        )
        for start, end in pairwise(times)
        if total[end] >= total[start]
    ]


def first_breach(intervals: Sequence[ScrapeInterval], *, percent: float, since: datetime) -> datetime | None:
    """Return the time of the first scrape since then that showed less than ``percent`` within the edge."""
    return next((i.until for i in intervals if i.until >= since and i.share * 100 < percent), None)


def failed_scrapes(prometheus: Prometheus, namespace: str, *, since: datetime) -> list[datetime]:
    """Return the times of scrapes since then that Prometheus got no answer to."""
    seconds = math.ceil((datetime.now(UTC) - since).total_seconds()) + 1
    found = _samples(prometheus, f'up{{namespace="{namespace}"}}', seconds)
    times = [datetime.fromtimestamp(at, UTC) for _, samples in found for at, value in samples if not float(value)]
    return [at for at in times if at >= since]


def _samples_by_pod(
    prometheus: Prometheus, namespace: str, edge_pattern: str, last_seconds: int
) -> dict[str, dict[float, float]]:
    # Prometheus 3 stores le="20823" as le="20823.0".
    selector = f'{{__name__="{_BUCKET}", namespace="{namespace}", API!="", le=~"{edge_pattern}([.]0)?"}}'
    found: dict[str, dict[float, float]] = defaultdict(lambda: defaultdict(float))
    for labels, samples in _samples(prometheus, selector, last_seconds):
        for at, value in samples:
            found[labels["pod"]][at] += float(value)
    return found


def _samples(
    prometheus: Prometheus, selector: str, last_seconds: int
) -> list[tuple[dict[str, str], list[tuple[float, str]]]]:
    """Return labels and samples of each series: time in seconds, value as text."""
    answer = httpx.get(
        f"{prometheus.url}/api/v1/query",
        params={"query": f"{selector}[{last_seconds}s]"},
        trust_env=False,
        timeout=10,
    )
    answer.raise_for_status()
    return [(series["metric"], series["values"]) for series in answer.json()["data"]["result"]]
