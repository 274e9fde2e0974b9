"""docs/metrics.md has a row for every metric of the operator, with its labels, and no others."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Info

from tfserving_operator import telemetry
from tfserving_operator.api.autoscaling import AutoscalingMode
from tfserving_operator.autoscaling.decision import ScalingRule
from tfserving_operator.autoscaling.signals import SignalState

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
