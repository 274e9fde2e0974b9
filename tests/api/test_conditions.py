from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tfserving_operator.api.conditions import (
    Condition,
    ConditionStatus,
    ConditionType,
    DocumentedWord,
    Reason,
    headline,
)

TROUBLESHOOTING = (Path(__file__).resolve().parents[2] / "docs" / "troubleshooting.md").read_text()
SECTIONS = dict(re.findall(r"^### (\w+)\n\n(.+?)(?=^##|\Z)", TROUBLESHOOTING, re.MULTILINE | re.DOTALL))


def _condition(kind: ConditionType, status: str) -> Condition:
    return Condition(
        type=kind,
        status=ConditionStatus(status),
        reason=f"{kind}{status}",
        message="",
        last_transition_time=datetime(2026, 1, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize("word", [*Reason, *ConditionType], ids=str)
def test_every_word_has_its_meaning_in_a_sentence(word: DocumentedWord) -> None:
    assert word.meaning.endswith(".")
    assert re.fullmatch(r"[A-Z][A-Za-z]+", word.value)


def test_a_word_is_found_by_its_value() -> None:
    assert Reason("OutOfMemory") is Reason.OUT_OF_MEMORY
    assert f"{Reason.OUT_OF_MEMORY}" == "OutOfMemory"


def test_every_reason_has_a_paragraph_in_troubleshooting_and_no_other_word_has() -> None:
    assert sorted(SECTIONS) == sorted(reason.value for reason in Reason)
    assert [reason for reason, text in SECTIONS.items() if len(text) < 60] == []


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        pytest.param({"Ready": "True", "Progressing": "False", "Degraded": "False"}, "ReadyTrue", id="all is well"),
        pytest.param({"Ready": "True", "Progressing": "True", "Degraded": "False"}, "ProgressingTrue", id="under way"),
        pytest.param({"Ready": "True", "Progressing": "True", "Degraded": "True"}, "DegradedTrue", id="a fault"),
        pytest.param({"Ready": "False", "Degraded": "True", "Stalled": "True"}, "StalledTrue", id="for a person"),
        pytest.param({"Ready": "True", "Paused": "True", "Progressing": "True"}, "PausedTrue", id="paused"),
        pytest.param({"Ready": "True", "Paused": "True", "Degraded": "True"}, "DegradedTrue", id="paused with a fault"),
        pytest.param({"Ready": "Unknown", "Degraded": "Unknown"}, "ReadyUnknown", id="unknown"),
    ],
)
def test_the_headline_is_what_says_most(conditions: dict[str, str], expected: str) -> None:
    found = headline([_condition(ConditionType(kind), status) for kind, status in conditions.items()])
    assert found is not None
    assert found.reason == expected


def test_there_is_no_headline_before_the_first_status() -> None:
    assert headline([]) is None
