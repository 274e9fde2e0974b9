"""Durations on the command line: 90m, 36h, 7d."""

from __future__ import annotations

import re

import click

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PATTERN = re.compile(r"([0-9]{1,9})([smhdw])")


class DurationType(click.ParamType[int]):
    """A whole number with a unit, as Prometheus writes it; the value is in seconds, at least 1."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return seconds."""
        if isinstance(value, int):
            return value
        match = _PATTERN.fullmatch(str(value).strip())
        seconds = int(match[1]) * _SECONDS[match[2]] if match else 0
        if seconds <= 0:
            self.fail(f"{value!r} is not a duration: write for example 90m, 36h or 7d", param, ctx)
        return seconds
