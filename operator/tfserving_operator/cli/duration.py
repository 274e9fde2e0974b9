"""Durations on the command line: 90m, 36h, 7d."""

from __future__ import annotations

import re

import click

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_MOST_DAYS = 366
"""As for traces in files."""
_PATTERN = re.compile(r"([0-9]{1,9})([smhdw])")


class DurationType(click.ParamType[int]):
    """A whole number with a unit, as Prometheus writes it; the value is in seconds, from 1 to those of 366 days."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return seconds."""
        if isinstance(value, int):
            return value
        match = _PATTERN.fullmatch(str(value).strip())
        seconds = int(match[1]) * _SECONDS[match[2]] if match else 0
        if seconds <= 0:
            self.fail(f"{value!r} is not a duration: write for example 90m, 36h or 7d", param, ctx)
        if seconds > _MOST_DAYS * _SECONDS["d"]:
            self.fail(f"{value!r} is longer than {_MOST_DAYS}d, the most that is simulated", param, ctx)
        return seconds
