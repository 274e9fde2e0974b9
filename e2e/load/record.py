"""What became of the requests of a load, second by second, in buckets like those of TensorFlow Serving."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from tfserving_operator.autoscaling.buckets import EDGES_MICROS

_KEPT_FAILURES = 200


@dataclass
class _Cell:
    """One second of arrivals."""

    arrived: int = 0
    ok: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    latencies: Counter[int] = field(default_factory=Counter)
    """Answers by the index of their bucket."""
    worst_lag_seconds: float = 0.0


@dataclass(frozen=True)
class LoadSummary:
    """Requests that were due in some window, and what has become of them so far."""

    arrived: int = 0
    """All that were due, whether sent or not."""
    ok: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)
    """By cause; ``dropped`` were not sent, as too many were under way."""
    latencies: Mapping[int, int] = field(default_factory=dict)
    """Answers without an error by the index of their bucket, ``len(EDGES_MICROS)`` being the one without an end."""
    worst_lag_seconds: float = 0.0
    """How late the generator itself was at worst."""

    @property
    def failed(self) -> int:
        """Requests that got no good answer."""
        return sum(self.failures.values())

    @property
    def pending(self) -> int:
        """Requests that still wait for their answer."""
        return self.arrived - self.ok - self.failed

    def share_within(self, edge_micros: float) -> float:
        """Share of finished requests that were answered well below a bucket edge; 1 without any."""
        finished = self.ok + self.failed
        good = sum(
            count for bucket, count in self.latencies.items() if bucket < bisect_right(EDGES_MICROS, edge_micros)
        )
        return good / finished if finished else 1.0

    def latency_quantile_micros(self, quantile: float) -> float:
        """Return the upper edge of the bucket that the quantile of the good answers falls in; 0 without any."""
        rank, seen = quantile * self.ok, 0
        for bucket in sorted(self.latencies):
            seen += self.latencies[bucket]
            if seen >= rank:
                return EDGES_MICROS[bucket] if bucket < len(EDGES_MICROS) else float("inf")
        return 0.0


class LoadRecord:
    """Counts of a load, written by its thread and read by any. Memory grows with seconds, not with requests."""

    def __init__(self) -> None:
        self._cells: dict[int, _Cell] = {}
        self._lock = threading.Lock()
        self.failures: deque[str] = deque(maxlen=_KEPT_FAILURES)
        """The last failures in words."""

    def arrived(self, due: float, lag_seconds: float) -> None:
        """Count a request that was due at the monotonic time ``due``."""
        with self._lock:
            cell = self._cell(due)
            cell.arrived += 1
            cell.worst_lag_seconds = max(cell.worst_lag_seconds, lag_seconds)

    def answered(self, due: float, latency_seconds: float) -> None:
        """Count a good answer. As in TensorFlow Serving, a value equal to an edge falls into the next bucket."""
        bucket = bisect_right(EDGES_MICROS, latency_seconds * 1e6)
        with self._lock:
            cell = self._cell(due)
            cell.ok += 1
            cell.latencies[bucket] += 1

    def failed(self, due: float, cause: str, words: str) -> None:
        """Count a request without a good answer, by ``cause``."""
        with self._lock:
            self._cell(due).failures[cause] += 1
            self.failures.append(words)

    def summary(self, since: float = float("-inf"), until: float = float("inf")) -> LoadSummary:
        """Return what became of the requests due from ``since`` to before ``until``, in whole monotonic seconds."""
        failures: Counter[str] = Counter()
        latencies: Counter[int] = Counter()
        with self._lock:
            chosen = [cell for second, cell in self._cells.items() if since <= second < until]
            for cell in chosen:
                failures.update(cell.failures)
                latencies.update(cell.latencies)
            return LoadSummary(
                arrived=sum(cell.arrived for cell in chosen),
                ok=sum(cell.ok for cell in chosen),
                failures=dict(failures),
                latencies=dict(latencies),
                worst_lag_seconds=max((cell.worst_lag_seconds for cell in chosen), default=0.0),
            )

    def _cell(self, due: float) -> _Cell:
        return self._cells.setdefault(int(due), _Cell())
