"""docs/metrics.md has a row for every metric of the operator, with its labels, and no others."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Info

from tests.docs.test_events_table import actions
from tfserving_operator import telemetry
from tfserving_operator.api.autoscaling import AutoscalingMode
from tfserving_operator.autoscaling.decision import ScalingRule
from tfserving_operator.autoscaling.signals import SignalState
from tfserving_operator.clients import kube
from tfserving_operator.clients.errors import ClientError
from tfserving_operator.clients.promql import QueryName
from tfserving_operator.reconcile import workers
from tfserving_operator.reconcile.queue import Priority

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text()
METRICS = [metric for metric in vars(telemetry).values() if isinstance(metric, Counter | Gauge | Histogram)]
WORDS = {word.value for words in (ScalingRule, SignalState, AutoscalingMode) for word in words}


def rows() -> dict[str, tuple[str, set[str]]]:
    """Type and labels by name."""
    found = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*)\|", PAGE, re.MULTILINE)
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in found}


def test_the_page_has_the_metrics_that_there_are() -> None:
    told = {}
    for metric in METRICS:
        family = next(iter(metric.describe()))
        name = f"{family.name}_total" if isinstance(metric, Counter) else family.name
        told[name] = (family.type, set(metric._labelnames))  # no public way to ask for labels
    assert isinstance(telemetry.BUILD_INFO, Info)
    told["tfserving_operator_build_info"] = ("gauge", {"version", "python"})
    assert rows() == told


def values() -> dict[str, set[str]]:
    """The values of each label in the page's table of them."""
    (section,) = re.findall(r"^## Values of the labels\n(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)
    found = re.findall(r"^\| `(\w+)` \| (.+) \|$", section, re.MULTILINE)
    return {label: set(re.findall(r"`([\w]+)`", words)) - {"reason"} for label, words in found}


def counted(metric: str) -> set[str]:
    """Return the words with which the operator's code counts by ``telemetry.<metric>``."""
    package = Path(telemetry.__file__).parent
    uses = (
        re.findall(rf"telemetry\.{metric}\.labels\(([^\n]*)\)\.", file.read_text()) for file in package.rglob("*.py")
    )
    return {word for found in uses for arguments in found for word in re.findall(r'"(\w+)"', arguments)}


def test_the_values_of_labels_are_those_of_the_code() -> None:
    failures = set(re.findall(r'_count_failure\(queue, item, "(\w+)"', inspect.getsource(workers)))
    assert values() == {
        "decision": actions(),
        "result": set(re.findall(r'return "(\w+)"', inspect.getsource(workers))),
        "error": {kind.__name__ for kind in ClientError.__subclasses__()} | failures,
        "priority": set(Priority),
        "verb": set(re.findall(r'verb="(\w+)"', inspect.getsource(kube))),
        "cause": counted("WATCH_RESTARTS"),
        "mode": set(AutoscalingMode) - {AutoscalingMode.OFF},
        "query": set(QueryName),
        "how": counted("SCALING_TICKS_MISSED"),
        "what": counted("SCALING_ERRORS"),
    }


def test_no_metric_is_exposed_beside_those_of_the_page() -> None:
    telemetry.WATCH_RESTARTS.labels("pods", "expired")
    names = {
        re.sub(r"_(bucket|sum|count)$", "", sample.name)
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name.startswith("tfserving_operator_")
    }
    assert names <= rows().keys()


def test_questions_ask_for_metrics_and_words_that_exist() -> None:
    questions = "\n".join(re.findall(r"```promql\n(.*?)```", PAGE, re.DOTALL))
    asked = {re.sub(r"_bucket$", "", name) for name in re.findall(r"tfserving_operator_\w+", questions)}
    assert asked <= rows().keys()
    values = {
        word for text in re.findall(r'(?:signals|rule|mode)!?=~?"([^"]+)"', questions) for word in text.split("|")
    }
    assert values <= WORDS
