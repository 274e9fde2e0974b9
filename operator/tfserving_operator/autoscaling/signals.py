"""What is known of a pool's load, and how well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tfserving_operator.api.conditions import DocumentedWord


class SignalState(DocumentedWord):
    """How far the numbers can be trusted. Each state has its own cause; only the first two may scale down."""

    MEASURED = "Measured", "Fresh samples of every ready replica."
    NO_TRAFFIC = "NoTraffic", "Every ready replica is scraped and none of them got a request in the window."
    NO_REPLICAS = "NoReplicas", "No replica is ready, so there is nothing to measure."
    NOT_YET_REPORTED = (
        "NotYetReported",
        "Replicas are ready but their first two samples are not there yet; wait for two scrapes.",
    )
    REPLICAS_MISSING = (
        "ReplicasMissing",
        "Some ready replicas are not scraped or their scrapes fail, so the load is higher than what is seen.",
    )
    STALE = "StaleSamples", "The newest samples are older than allowed: scraping or remote storage lags behind."
    PARTIAL_ANSWER = (
        "PartialAnswer",
        "Prometheus answered with warnings or without part of its stores, so numbers may be missing.",
    )
    NOT_A_NUMBER = "NotANumber", "Prometheus answered NaN or an infinite number."
    PROMETHEUS_SLOW = "PrometheusSlow", "Prometheus did not answer in time."
    PROMETHEUS_UNAVAILABLE = "PrometheusUnavailable", "Prometheus cannot be reached or answers with a server error."
    PROMETHEUS_REJECTED = (
        "PrometheusRejected",
        "Prometheus refused the query or the credentials; the operator's settings need a look.",
    )
    NOT_CONFIGURED = (
        "PrometheusNotConfigured",
        "The operator was given no address of Prometheus; set prometheus.url in the chart.",
    )

    @property
    def may_scale_down(self) -> bool:
        """Whether the numbers are good enough to give up replicas."""
        return self in (SignalState.MEASURED, SignalState.NO_TRAFFIC)


@dataclass(frozen=True, kw_only=True)
class PoolSignals:
    """The load of one pool over a short window that ends ``at``, as Prometheus has it. Rates are for the whole pool."""

    state: SignalState
    message: str = ""
    """What is wrong, in words and numbers; empty where nothing is."""
    at: datetime | None = None
    """Time of the oldest sample that went in."""
    window_seconds: float = 0.0
    """What the rates are averaged over: the time between two scrapes."""
    is_window_assumed: bool = False
    """Whether only one scrape was seen yet, so that the window is what the operator's settings say."""
    replicas_covered: int = 0
    """Replicas with fresh samples."""
    requests_per_second: float = 0.0
    """Requests answered OK or with an error that overload may cause; clients' own mistakes are not load."""
    good_per_second: float = 0.0
    """Requests answered OK at or below the bucket edge that the objective was snapped to."""
    good_above_per_second: float | None = None
    """Requests answered OK at or below the bucket edge next above the objective; None where it was not asked for.
    With it the share within the objective itself can be estimated; without it only what is good at the edge below
    counts."""
    errors_per_second: Mapping[str, float] = field(default_factory=dict)
    """Failed requests by status code; here clients' own mistakes (INVALID_ARGUMENT, NOT_FOUND, …) are included."""
    replicas_silent: int = 0
    """Ready replicas whose newest scrape failed."""
    silent_per_second: float = 0.0
    """Requests answered OK by replicas whose newest scrape failed, in their last two samples; not among the others. An
    overloaded server does not answer scrapes in time either."""
    silent_good_per_second: float = 0.0
    """Of those, at or below the bucket edge that the objective was snapped to."""
    concurrency: float | None = None
    """Requests in flight, by Little's law from the rate and the buckets of latency."""
    queue_seconds: float | None = None
    """Mean wait for a batch, from the buckets; None without batching."""
    batch_size: float | None = None
    """Mean examples in a batch, from the buckets; None without batching."""

    @property
    def good_share(self) -> float | None:
        """Share of requests within the objective, 0 to 1; None without requests."""
        if self.requests_per_second <= 0:
            return None
        return min(1.0, self.good_per_second / self.requests_per_second)
