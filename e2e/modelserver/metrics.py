"""The metrics page, byte for byte as the model server prints it.

`prometheus_client` cannot print this page: names hold colons, counters have no `_total`, sums have six
significant digits, bucket limits are printed by `%g`, and there are no HELP lines. That page is what
an autoscaler has to live with, so it is written here exactly.
"""

from __future__ import annotations

import bisect
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

LABEL_NAME = re.compile(r"[^a-zA-Z0-9]")
METRIC_NAME = re.compile(r"[^a-zA-Z0-9_]")

Labels = tuple[str, ...]


def exponential_limits(start: float, growth: float, count: int) -> tuple[float, ...]:
    """Return ``count`` finite bucket limits; the exposition adds `+Inf`."""
    limits = [start]
    while len(limits) < count:
        limits.append(limits[-1] * growth)
    return tuple(limits)


class Metric(ABC):
    """A metric with a fixed set of labels; a series appears when it is first recorded."""

    kind: str

    def __init__(self, name: str, *label_names: str) -> None:
        self.name = name
        self._label_names = tuple(LABEL_NAME.sub("_", label) for label in label_names)

    @property
    def exposed_name(self) -> str:
        return METRIC_NAME.sub(":", self.name)

    def lines(self) -> Iterator[str]:
        yield f"# TYPE {self.exposed_name} {self.kind}"
        yield from self._sample_lines()

    @abstractmethod
    def _sample_lines(self) -> Iterator[str]: ...

    def _pairs(self, values: Labels) -> str:
        return ",".join(f'{name}="{_escape(value)}"' for name, value in zip(self._label_names, values, strict=True))


class Counter(Metric):
    """An integer that only grows."""

    kind = "counter"

    def __init__(self, name: str, *label_names: str) -> None:
        super().__init__(name, *label_names)
        self._values: dict[Labels, int] = {}

    def add(self, amount: int, *labels: str) -> None:
        self._values[labels] = self._values.get(labels, 0) + amount

    def value(self, *labels: str) -> int:
        return self._values.get(labels, 0)

    def first_value(self) -> int:
        """Return the value of the first series in exposition order, 0 when there is none."""
        return self._values[min(self._values)] if self._values else 0

    def _sample_lines(self) -> Iterator[str]:
        for labels in sorted(self._values):
            yield f"{self.exposed_name}{{{self._pairs(labels)}}} {self._values[labels]}"


class Histogram(Metric):
    """Observations counted in buckets; a value equal to a limit falls into the next bucket."""

    kind = "histogram"

    def __init__(self, name: str, limits: Sequence[float], *label_names: str) -> None:
        super().__init__(name, *label_names)
        self._limits = tuple(limits)
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}

    def observe(self, value: float, *labels: str) -> None:
        counts = self._counts.setdefault(labels, [0] * (len(self._limits) + 1))
        counts[bisect.bisect_right(self._limits, value)] += 1
        self._sums[labels] = self._sums.get(labels, 0.0) + value

    def count(self, *labels: str) -> int:
        return sum(self._counts.get(labels, ()))

    def _sample_lines(self) -> Iterator[str]:
        limits = [*(f"{limit:g}" for limit in self._limits), "+Inf"]
        for labels in sorted(self._counts):
            pairs = self._pairs(labels)
            prefix = f"{self.exposed_name}_bucket{{{pairs}{',' if pairs else ''}"
            cumulative = 0
            for limit, count in zip(limits, self._counts[labels], strict=True):
                cumulative += count
                yield f'{prefix}le="{limit}"}} {cumulative}'
            yield f"{self.exposed_name}_sum{{{pairs}}} {self._sums[labels]:g}"
            yield f"{self.exposed_name}_count{{{pairs}}} {cumulative}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


LATENCY_MICROS = exponential_limits(10, 1.8, 33)
BATCH_SIZES = exponential_limits(1, 2, 14)


class ServerMetrics:
    """Every metric that the stand-in knows. Attributes named in ``LAZY`` get their TYPE line on first use."""

    LAZY = ("batch_input_size", "batch_processed_size", "batch_padding_size")

    def __init__(self) -> None:
        serving = "/tensorflow/serving"
        session = f"{serving}/batching_session"
        self.request_latency = Histogram(
            f"{serving}/request_latency", LATENCY_MICROS, "model_name", "API", "entrypoint"
        )
        self.runtime_latency = Histogram(f"{serving}/runtime_latency", LATENCY_MICROS, "model_name", "API", "runtime")
        self.request_count = Counter(f"{serving}/request_count", "model_name", "status")
        self.request_example_counts = Histogram(
            f"{serving}/request_example_counts", exponential_limits(1, 2, 15), "model"
        )
        self.request_example_count_total = Counter(f"{serving}/request_example_count_total", "model")
        self.request_log_count = Counter(f"{serving}/request_log_count", "model_name", "status_code")
        self.warmup_latency = Histogram(f"{serving}/model_warmup_latency", LATENCY_MICROS, "model_path", "status")
        self.warmup_records_read = Counter(f"{serving}/model_warmup_records_read", "model_path", "status")
        self.batch_queuing_latency = Histogram(
            f"{session}/queuing_latency", exponential_limits(100, 1.2, 52), "thread_pool_name"
        )
        self.batch_run_count = Counter(f"{session}/wrapped_run_count")
        self.batch_input_size = Histogram(f"{session}/input_batch_size", BATCH_SIZES)
        self.batch_processed_size = Histogram(f"{session}/processed_batch_size", BATCH_SIZES)
        self.batch_padding_size = Histogram(f"{session}/padding_size", BATCH_SIZES, "execution_batch_size")
        self.load_attempt_count = Counter("/tensorflow/cc/saved_model/load_attempt_count", "model_path", "status")
        self.load_latency = Counter("/tensorflow/cc/saved_model/load_latency", "model_path")
        self.load_latency_by_stage = Histogram(
            "/tensorflow/cc/saved_model/load_latency_by_stage", LATENCY_MICROS, "model_path", "stage"
        )
        self.graph_runs = Counter("/tensorflow/core/graph_runs")
        self.direct_session_runs = Counter("/tensorflow/core/direct_session_runs")
        self.graph_run_time_usecs = Counter("/tensorflow/core/graph_run_time_usecs")
        self.graph_run_time_usecs_histogram = Histogram(
            "/tensorflow/core/graph_run_time_usecs_histogram", exponential_limits(1000, 2, 20)
        )
        self.graph_pending_queue_length = Histogram(
            "/tensorflow/core/graph_pending_queue_length_histogram", exponential_limits(1, 1.5, 30)
        )

    def page(self) -> str:
        """Return the whole page, metrics in the order of their names."""
        shown = sorted(self._shown(), key=lambda metric: metric.name)
        return "\n".join(line for metric in shown for line in metric.lines()) + "\n"

    def counter_by_name(self, name: str) -> Counter | None:
        """Return the counter whose TensorFlow name (with slashes) is ``name``."""
        return next((m for m in self._shown() if isinstance(m, Counter) and m.name == name), None)

    def _shown(self) -> Iterator[Metric]:
        for attribute, metric in vars(self).items():
            if attribute in self.LAZY and next(metric._sample_lines(), None) is None:
                continue
            yield metric

    def record_run(self, run_micros: float) -> None:
        """Count one run of the wrapped session."""
        self.graph_runs.add(1)
        self.direct_session_runs.add(1)
        self.graph_run_time_usecs.add(int(run_micros))
        self.graph_run_time_usecs_histogram.observe(run_micros)
