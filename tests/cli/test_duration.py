from __future__ import annotations

import click
import pytest

from tfserving_operator.cli.duration import DurationType


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("36h", 129_600), ("7d", 604_800), ("1w", 604_800)]
)
def test_durations_are_seconds(text: str, seconds: int) -> None:
    assert DurationType().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["367d", "53w", "200000w", "999999999s"])
def test_more_than_a_year_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is longer than 366d"):
        DurationType().convert(text, None, None)


@pytest.mark.parametrize("text", ["", "7", "0d", "-1h", "1.5h", "7 days", "7D", "1h30m", "9999999999d"])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(click.BadParameter, match="write for example"):
        DurationType().convert(text, None, None)
