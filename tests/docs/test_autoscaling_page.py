"""docs/autoscaling.md has a row for every word that autoscaling explains itself with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tfserving_operator.api.autoscaling import AutoscalingMode, ScalingPolicy
from tfserving_operator.autoscaling.buckets import EDGES, format_micros
from tfserving_operator.autoscaling.decision import ScalingRule
from tfserving_operator.autoscaling.signals import SignalState

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "autoscaling.md").read_text()
ROWS = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)


@pytest.mark.parametrize("words", [ScalingRule, SignalState, ScalingPolicy, AutoscalingMode])
def test_every_word_has_its_row(words: type[ScalingRule | SignalState | ScalingPolicy | AutoscalingMode]) -> None:
    assert {word.value for word in words} <= set(ROWS)


def test_no_row_is_about_a_word_that_does_not_exist() -> None:
    known = {word.value for words in (ScalingRule, SignalState, ScalingPolicy, AutoscalingMode) for word in words}
    fields = {row for row in ROWS if row[0].islower()}
    assert set(ROWS) - fields <= known


def test_a_state_may_scale_down_where_its_row_says_so() -> None:
    for state in SignalState:
        row = re.search(rf"^\| `{state.value}` \|[^|]+\| (yes|no) \|", PAGE, re.MULTILINE)
        assert row is not None
        assert (row[1] == "yes") is state.may_scale_down


def test_the_edges_that_are_listed_are_edges() -> None:
    listed = re.search(r"^… (.*) …$", PAGE, re.MULTILINE)
    assert listed is not None
    assert set(listed[1].split(", ")) <= {format_micros(edge.micros) for edge in EDGES}
