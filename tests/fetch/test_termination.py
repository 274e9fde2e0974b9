from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fetch.runs import read_success
from tfserving_operator.fetch.termination import (
    FAILURE_LIMIT_BYTES,
    FetchFailure,
    FetchReason,
    FetchSuccess,
    parse_termination_message,
)


@given(st.sampled_from(FetchReason), st.text(max_size=3000), st.text(min_size=1, max_size=60))
def test_failure_is_one_short_line_that_reads_back(reason: FetchReason, message: str, model: str) -> None:
    line = FetchFailure(reason, message, model).to_json_line()
    assert "\n" not in line
    assert len(line.encode()) <= FAILURE_LIMIT_BYTES
    parsed = parse_termination_message(line)
    assert parsed is not None and (parsed.reason, parsed.model) == (reason, model)
    assert parsed.message == " ".join(message.split()) or parsed.message.endswith("…")


@given(st.lists(st.integers(0, 2**63 - 1), unique=True, max_size=40), st.integers(0), st.booleans())
def test_success_reads_back(versions: list[int], size: int, stale: bool) -> None:
    success = FetchSuccess(tuple(sorted(versions)), size, 1.5, stale)
    assert read_success(success.to_json_line()) == success


def test_what_is_not_utf8_is_replaced() -> None:
    line = FetchFailure(FetchReason.InvalidModel, "mod\udce8le", "m").to_json_line()
    assert parse_termination_message(line) == FetchFailure(FetchReason.InvalidModel, "mod?le", "m")


def test_success_of_many_versions_names_the_newest() -> None:
    assert read_success(FetchSuccess(tuple(range(5000)), 1, 1.0).to_json_line()).versions == tuple(range(4960, 5000))


@pytest.mark.parametrize("text", ["", "panic: no", "[]", "null", '{"reason": 1}', '{"versions": [1]}', "[" * 100_000])
def test_what_the_fetcher_did_not_write_is_no_failure(text: str) -> None:
    assert parse_termination_message(text) is None


def test_reason_of_a_newer_fetcher_keeps_its_message() -> None:
    parsed = parse_termination_message(json.dumps({"reason": "Unheard", "message": "of", "model": "m"}))
    assert parsed == FetchFailure(FetchReason.InternalError, "of", "m")
