from __future__ import annotations

import json
import math
from typing import Any

import pytest

from e2e.scenarios.prometheus_answers import (
    ANSWER_TROUBLES,
    HOURS_LATE_SECONDS,
    PARTIAL_WARNING,
    Trouble,
    spoil,
)

NOW = 1_700_000_000.0


def answer(*values: float) -> bytes:
    result = [{"metric": {"pod": f"p{index}"}, "value": [NOW, str(value)]} for index, value in enumerate(values)]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()


def spoiled(trouble: Trouble, *values: float) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(spoil(answer(*values), trouble, now=NOW))
    assert document["status"] == "success"
    return document


def values(document: dict[str, Any]) -> list[float]:
    return [float(series["value"][1]) for series in document["data"]["result"]]


def test_nan_keeps_the_series() -> None:
    assert all(math.isnan(value) for value in values(spoiled(Trouble.NAN, 1.0, 2.0)))
    assert len(values(spoiled(Trouble.NAN, 1.0, 2.0))) == 2


def test_empty_has_no_series() -> None:
    assert values(spoiled(Trouble.EMPTY, 1.0, 2.0)) == []


def test_a_partial_answer_lacks_series_and_says_so() -> None:
    document = spoiled(Trouble.PARTIAL, 1.0, 2.0, 3.0)
    assert values(document) == [1.0, 3.0]
    assert document["warnings"] == [PARTIAL_WARNING]


def test_late_moves_samples_and_values_that_are_times() -> None:
    document = spoiled(Trouble.LATE, 20.0, NOW - 1)
    assert values(document) == [20.0, NOW - 1 - HOURS_LATE_SECONDS]
    assert {series["value"][0] for series in document["data"]["result"]} == {NOW - HOURS_LATE_SECONDS}


def test_ranges_are_spoiled_too() -> None:
    series = {"metric": {}, "values": [[NOW, "1"], [NOW + 1, "2"]]}
    content = json.dumps({"status": "success", "data": {"resultType": "matrix", "result": [series]}}).encode()
    [changed] = json.loads(spoil(content, Trouble.NAN, now=NOW))["data"]["result"]
    assert changed["values"] == [[NOW, "NaN"], [NOW + 1, "NaN"]]


@pytest.mark.parametrize(
    "trouble", [each for each in Trouble if each in ANSWER_TROUBLES], ids=lambda trouble: trouble.name
)
def test_other_documents_pass(trouble: Trouble) -> None:
    content = json.dumps({"status": "success", "data": {"version": "3.5.0"}}).encode()
    assert spoil(content, trouble, now=NOW) == content


@pytest.mark.parametrize(
    "trouble", [each for each in Trouble if each not in ANSWER_TROUBLES], ids=lambda trouble: trouble.name
)
def test_what_is_no_matter_of_content_is_refused(trouble: Trouble) -> None:
    with pytest.raises(ValueError, match="not a matter"):
        spoil(answer(1.0), trouble, now=NOW)
