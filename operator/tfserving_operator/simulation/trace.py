"""Traces: how many requests came when. A CSV file with a header."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

Numbers = np.ndarray[Any, np.dtype[np.floating[Any]]]

REQUIRED_COLUMNS = ("time_seconds", "requests_per_second")
OPTIONAL_COLUMNS = ("service_time_scale", "gpus_available")
COLUMNS = REQUIRED_COLUMNS + OPTIONAL_COLUMNS
_HEADER = "time_seconds,requests_per_second[,service_time_scale][,gpus_available]"
_EPOCH_FROM_SECONDS = 1e8
_EPOCH_TO_SECONDS = 1e11
_MONDAY = datetime(2024, 1, 1, tzinfo=UTC)
_MOST_REQUESTS_PER_SECOND = 1e7
_MOST_SERVICE_TIME_SCALE = 1000.0
_MOST_DAYS = 366
_SHORTEST_STEP_SECONDS = 1e-6
_MOST_SHOWN = 100
_MOST_FACTORS = 8


_Row = tuple[int, list[float]]
"""Number of the line, and its numbers."""


class TraceError(ValueError):
    """A trace that cannot be used; the message says where and what to write instead."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trace:
    """Point samples of the load, by increasing time. The first is at 0 seconds.

    Between samples the rate is a straight line: rows say what the load was at a moment, and steps between rows would
    be sudden changes that nobody measured.
    """

    name: str
    times_seconds: Numbers
    requests_per_second: Numbers
    service_time_scale: Numbers
    """Factor of the service time; 1 where the file has no such column."""
    gpus_available: Numbers | None = None
    """Replicas of accelerator pools that find a device; unlike the rates it changes in steps, at its rows."""
    origin: datetime = _MONDAY
    """The time of the first row: schedules go by it."""
    is_dated: bool = False
    """Whether that is a time of the calendar; otherwise it is made up."""
    requests_each: int = 1
    """Real requests that one of this trace stands for."""
    assumptions: tuple[str, ...] = ()
    """What was done to it, in sentences."""

    @property
    def duration_seconds(self) -> float:
        """From the first to the last row."""
        return float(self.times_seconds[-1])

    @property
    def requests(self) -> float:
        """Expected requests over all of it."""
        return float(self.requests_until(self.times_seconds[-1:])[0])

    def heaviest_loads(self) -> tuple[tuple[float, float], ...]:
        """Return the loads that no other exceeds both in requests per second and in the factor of the service time.

        Factors are rounded up to a few, so that there are few loads.
        """
        factors = np.unique(np.quantile(self.service_time_scale, np.linspace(0, 1, _MOST_FACTORS), method="higher"))
        level = factors[np.searchsorted(factors, self.service_time_scale)]
        loads: list[tuple[float, float]] = []
        for factor in factors[::-1]:
            rate = float(self.requests_per_second[level == factor].max())
            if not loads or rate > loads[-1][0]:
                loads.append((rate, float(factor)))
        return tuple(loads)

    def thinned(self, factor: int) -> Trace:
        """Return the trace with one request for every ``factor`` of this one."""
        return replace(
            self,
            requests_per_second=self.requests_per_second / factor,
            requests_each=self.requests_each * factor,
            assumptions=(*self.assumptions, f"one request in the simulation stands for {factor}"),
        )

    def rate_at(self, seconds: Numbers) -> Numbers:
        """Return requests per second at ``seconds``; beyond the ends the first and the last row hold."""
        return np.interp(seconds, self.times_seconds, self.requests_per_second)

    def scale_at(self, seconds: Numbers) -> Numbers:
        """Return the factor of the service time at ``seconds``."""
        return np.interp(seconds, self.times_seconds, self.service_time_scale)

    def gpus_at(self, seconds: Numbers) -> Numbers:
        """Return the devices that are there at ``seconds``; infinity where the trace does not say."""
        if self.gpus_available is None:
            return np.full(len(seconds), math.inf)
        rows = np.clip(np.searchsorted(self.times_seconds, seconds, side="right") - 1, 0, None)
        return self.gpus_available[rows]

    def requests_until(self, seconds: Numbers) -> Numbers:
        """Return how many requests are expected from the beginning until ``seconds``, none beyond the end."""
        steps = np.diff(self.times_seconds)
        areas = steps * (self.requests_per_second[1:] + self.requests_per_second[:-1]) / 2
        at_rows = np.concatenate(([0.0], np.cumsum(areas)))
        inside = np.clip(seconds, 0.0, self.duration_seconds)
        row = np.clip(np.searchsorted(self.times_seconds, inside, side="right") - 1, 0, len(steps) - 1)
        since = inside - self.times_seconds[row]
        rate = self.requests_per_second[row]
        slope = (self.requests_per_second[row + 1] - rate) / steps[row]
        return at_rows[row] + since * (rate + slope * since / 2)


def read_trace(path: Path) -> Trace:
    """Return the trace in ``path``.

    Raises:
        TraceError: The file is missing or not a trace; the message names the line and the fix.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return parse_trace(file, name=path.name)
    except OSError as error:
        raise TraceError(f"cannot read the trace {path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TraceError(f"{path} is not a text file: write a CSV file with the header {_HEADER}") from error


def parse_trace(lines: Iterable[str], *, name: str) -> Trace:
    """Return the trace that the CSV ``lines`` are.

    Raises:
        TraceError: As in ``read_trace``.
    """
    reader = csv.reader(lines)
    header = next((row for row in reader if _is_content(row)), None)
    columns = _columns(header, name)
    rows = [
        (reader.line_num, _numbers(row, columns, f"{name}, line {reader.line_num}"))
        for row in reader
        if _is_content(row)
    ]
    columns, ignored = [column for column in columns if column in COLUMNS], [c for c in columns if c not in COLUMNS]
    rows, assumptions = _in_order(rows, columns.index("time_seconds"), name)
    if ignored:
        assumptions = (f"columns of {name} that mean nothing here are left out: {', '.join(ignored)}", *assumptions)
    if len(rows) < 2:
        rows_there = "1 row" if len(rows) == 1 else "no row"
        raise TraceError(f"{name} has {rows_there} of data: write at least two, for a beginning and an end")
    table = dict(zip(columns, np.array([numbers for _, numbers in rows], dtype=np.float64).T, strict=True))
    days = float(table["time_seconds"][-1] - table["time_seconds"][0]) / 86_400
    if days > _MOST_DAYS:
        raise TraceError(f"{name} spans {days:.0f} days: cut it to at most {_MOST_DAYS}; time_seconds are seconds")
    return replace(build_trace(name=name, **table), assumptions=assumptions)


def _in_order(rows: list[_Row], time_column: int, name: str) -> tuple[list[_Row], tuple[str, ...]]:
    """Return the rows by time, each once, and a sentence where they were not so."""
    by_time = sorted(rows, key=lambda row: row[1][time_column])
    kept = by_time[:1]
    for (_, before), (line, numbers) in itertools.pairwise(by_time):
        if numbers == before:
            continue
        if numbers[time_column] == before[time_column]:
            raise TraceError(
                f"{name}, line {line}: time_seconds {numbers[time_column]:g} comes twice with different numbers: keep "
                "one row for each time"
            )
        if numbers[time_column] - before[time_column] < _SHORTEST_STEP_SECONDS:
            raise TraceError(
                f"{name}, line {line}: time_seconds {numbers[time_column]:g} is less than {_SHORTEST_STEP_SECONDS:g} s "
                "after the row before it: leave one of them out"
            )
        kept.append((line, numbers))
    assumptions = []
    if by_time != rows:
        assumptions.append(f"the rows of {name} are not in the order of time, and were sorted")
    if len(kept) < len(rows):
        assumptions.append(f"{len(rows) - len(kept)} rows of {name} come twice, and count once")
    return kept, tuple(assumptions)


def build_trace(
    *,
    name: str,
    time_seconds: Numbers | Sequence[float],
    requests_per_second: Numbers | Sequence[float],
    service_time_scale: Numbers | Sequence[float] | None = None,
    gpus_available: Numbers | Sequence[float] | None = None,
) -> Trace:
    """Return a trace of columns: at least two rows, by increasing time, of any origin."""
    times = np.asarray(time_seconds, dtype=np.float64)
    first = float(times[0])
    is_epoch = _EPOCH_FROM_SECONDS <= first < _EPOCH_TO_SECONDS
    origin = datetime.fromtimestamp(first, tz=UTC) if is_epoch else _MONDAY + timedelta(seconds=max(0.0, first))
    return Trace(
        name=name,
        times_seconds=times - first,
        requests_per_second=np.asarray(requests_per_second, dtype=np.float64),
        service_time_scale=np.ones(len(times))
        if service_time_scale is None
        else np.asarray(service_time_scale, dtype=np.float64),
        gpus_available=None if gpus_available is None else np.asarray(gpus_available, dtype=np.float64),
        origin=origin,
        is_dated=is_epoch,
    )


def _is_content(row: Sequence[str]) -> bool:
    return any(cell.strip() for cell in row) and not row[0].lstrip().startswith("#")


def _columns(header: list[str] | None, name: str) -> list[str]:
    if header is None:
        raise TraceError(f"{name} is empty: write a CSV file with the header {_HEADER}")
    columns = [cell.strip().lower() for cell in header]
    shown = ",".join(columns)[:_MOST_SHOWN]
    missing = [column for column in REQUIRED_COLUMNS if column not in columns]
    if missing:
        raise TraceError(f"{name} has no column {' and '.join(missing)}: its first line is {shown!r}, write {_HEADER}")
    if len(set(columns)) < len(columns):
        raise TraceError(f"{name} has a column twice: its first line is {shown!r}, write {_HEADER}")
    return columns


def _numbers(row: list[str], columns: list[str], where: str) -> list[float]:
    if len(row) != len(columns):
        raise TraceError(f"{where}: {len(row)} values for {len(columns)} columns: write {','.join(columns)}")
    return [_number(cell, column, where) for cell, column in zip(row, columns, strict=True) if column in COLUMNS]


def _number(cell: str, column: str, where: str) -> float:
    try:
        # Python alone reads 1_0 as 10.
        number = float("none" if "_" in cell else cell)
    except ValueError:
        raise TraceError(f"{where}: {column} is {cell!r}: write a number, for example 12.5") from None
    if not math.isfinite(number):
        raise TraceError(f"{where}: {column} is {cell!r}: write a finite number")
    if column == "time_seconds":
        if number >= _EPOCH_TO_SECONDS:
            raise TraceError(f"{where}: time_seconds is {cell}: write seconds, not milliseconds")
    elif number < 0:
        raise TraceError(f"{where}: {column} is {cell}: write 0 or more")
    if column == "service_time_scale" and not 0 < number <= _MOST_SERVICE_TIME_SCALE:
        raise TraceError(
            f"{where}: service_time_scale is {cell}: write more than 0 and at most {_MOST_SERVICE_TIME_SCALE:g}; 1 is "
            "the normal service time"
        )
    if column == "requests_per_second" and number > _MOST_REQUESTS_PER_SECOND:
        raise TraceError(f"{where}: requests_per_second is {cell}: write at most {_MOST_REQUESTS_PER_SECOND:g}")
    return number
