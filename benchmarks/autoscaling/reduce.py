"""Reduce a public log of requests to a trace: ``python -m benchmarks.autoscaling.reduce --format F FILE --out CSV``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path

import click
import numpy as np

from benchmarks.autoscaling.generate import Trace, write


def times_of_timestamp_column(lines: Iterable[str]) -> Iterable[float]:
    """Seconds of each request of a CSV whose first column is a date and time (Azure's language-model traces)."""
    for line in list(lines)[1:]:
        yield datetime.fromisoformat(line.split(",", 1)[0][:26]).timestamp()


def times_of_json_milliseconds(lines: Iterable[str]) -> Iterable[float]:
    """Seconds of each request of JSON lines with ``timestamp`` in milliseconds (Mooncake)."""
    return (float(json.loads(line)["timestamp"]) / 1000 for line in lines)


def times_of_second_counts(lines: Iterable[str]) -> Iterable[float]:
    """Seconds of each request of whitespace-separated counts, one a second (reduced web logs)."""
    counts = np.array(" ".join(lines).split(), dtype=float).astype(int)
    times: list[float] = np.repeat(np.arange(len(counts), dtype=float), counts).tolist()
    return times


FORMATS: Mapping[str, Callable[[Iterable[str]], Iterable[float]]] = {
    "timestamp-column": times_of_timestamp_column,
    "json-milliseconds": times_of_json_milliseconds,
    "second-counts": times_of_second_counts,
}


def reduced(times: Iterable[float], *, step_seconds: float, start_seconds: float, duration_seconds: float) -> Trace:
    """Requests per second in whole steps; ``start_seconds`` counts from the first request."""
    since_first = np.sort(np.fromiter(times, dtype=float))
    since_first -= since_first[0] + start_seconds
    whole = min(duration_seconds, since_first[-1]) // step_seconds
    counts, _ = np.histogram(since_first, bins=np.arange(whole + 1) * step_seconds)
    return Trace(step_seconds, counts / step_seconds)


@click.command()
@click.argument("log", type=click.Path(path_type=Path, exists=True))
@click.option("--format", "log_format", type=click.Choice(sorted(FORMATS)), required=True, help="What the log is.")
@click.option("--step-seconds", default=10.0, show_default=True, help="Length of a row.")
@click.option("--start-seconds", default=0.0, show_default=True, help="What to leave out at the beginning.")
@click.option("--duration-seconds", default=172_800.0, show_default=True, help="What to keep.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The trace.")
def main(
    log: Path, log_format: str, step_seconds: float, start_seconds: float, duration_seconds: float, out: Path
) -> None:
    """Write LOG as a trace of counts in steps; nothing is smoothed and nothing is filled in."""
    times = FORMATS[log_format](log.read_text().splitlines())
    trace = reduced(times, step_seconds=step_seconds, start_seconds=start_seconds, duration_seconds=duration_seconds)
    write(trace, out)


if __name__ == "__main__":
    main()
