"""The operator's own metrics. Every label has a bounded set of values; nothing is labelled by object."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import Counter, Gauge, Histogram, Info, disable_created_metrics

# Otherwise a gauge beside each counter and histogram says when it was made, which is when the process started.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types for it


def _installed_version() -> str:
    try:
        return version("tfserving-operator")
    except PackageNotFoundError:
        return "0.0.0"


VERSION = _installed_version()
"""Version of the installed package, ``0.0.0`` when it runs from a bare source tree."""

BUILD_INFO = Info("tfserving_operator_build", "Version of the operator and of Python.")
BUILD_INFO.info({"version": VERSION, "python": platform.python_version()})

API_REQUESTS = Counter(
    "tfserving_operator_api_requests",
    "Requests to the Kubernetes API, by verb, resource and HTTP status; code is 'error' where nothing answered.",
    ["verb", "resource", "code"],
)
API_REQUEST_SECONDS = Histogram(
    "tfserving_operator_api_request_duration_seconds",
    "Time until the Kubernetes API answered; for a watch, until it began.",
    ["verb"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
RECONCILE_SECONDS = Histogram(
    "tfserving_operator_reconcile_duration_seconds",
    "Time of one reconcile, by result.",
    ["result"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
RECONCILE_ERRORS = Counter(
    "tfserving_operator_reconcile_errors", "Reconciles that failed and are tried again, by kind of error.", ["error"]
)
DECISIONS = Counter(
    "tfserving_operator_decisions",
    "Changes decided, by what was decided and why; the same reasons as in logs, events and conditions.",
    ["decision", "reason"],
)
QUEUE_DEPTH = Gauge(
    "tfserving_operator_queue_depth", "ServedModels that are due and wait for a worker, by priority.", ["priority"]
)
QUEUE_OLDEST_SECONDS = Gauge(
    "tfserving_operator_queue_oldest_due_seconds", "How long the ServedModel that waits longest has been due."
)
QUEUE_WAIT_SECONDS = Histogram(
    "tfserving_operator_queue_wait_seconds",
    "Time between due and begun, by priority.",
    ["priority"],
    buckets=(0.001, 0.01, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
)
CHILD_CACHE_OBJECTS = Gauge("tfserving_operator_child_cache_objects", "Children in the cache, by kind.", ["kind"])
WATCH_RESTARTS = Counter(
    "tfserving_operator_watch_restarts",
    "Watches that ended otherwise than by the server's own time limit, by resource and cause.",
    ["resource", "cause"],
)
EVENTS_DROPPED = Counter("tfserving_operator_events_dropped", "Kubernetes events that the API server did not take.")
SCALING_TICK_SECONDS = Histogram(
    "tfserving_operator_scaling_tick_duration_seconds",
    "Time of one tick of autoscaling: the whole fleet, with the queries to Prometheus.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10),
)
SCALING_TICK_LATE_SECONDS = Histogram(
    "tfserving_operator_scaling_tick_late_seconds",
    "How much later than planned a tick of autoscaling began.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5),
)
SCALING_TICKS_MISSED = Counter(
    "tfserving_operator_scaling_ticks_missed",
    "Ticks of autoscaling that began late, by more than a tenth of the period, or were skipped.",
    ["how"],
)
SCALING_MODELS = Gauge(
    "tfserving_operator_scaling_models",
    "ServedModels that autoscaling looks after, by mode and by the state of what Prometheus says of them.",
    ["mode", "signals"],
)
SCALING_RULES = Gauge(
    "tfserving_operator_scaling_rules",
    "ServedModels that autoscaling looks after, by the rule that set their replicas at the last tick.",
    ["rule"],
)
SCALING_ERRORS = Counter(
    "tfserving_operator_scaling_errors", "Faults in a tick of autoscaling, by what failed; replicas are held.", ["what"]
)
PROMETHEUS_QUERY_SECONDS = Histogram(
    "tfserving_operator_prometheus_query_duration_seconds",
    "Time until Prometheus answered one query of a tick, by query and outcome: Answered or the state that it left.",
    ["query", "outcome"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 1.5, 2.5, 5),
)
PROMETHEUS_ROWS = Counter(
    "tfserving_operator_prometheus_samples", "Samples read from Prometheus' answers, by query.", ["query"]
)
