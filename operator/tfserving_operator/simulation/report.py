"""A comparison as JSON, and as a table for people."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tfserving_operator.autoscaling.buckets import format_micros
from tfserving_operator.simulation.comparison import Comparison, PolicyName, Result
from tfserving_operator.simulation.kernel.layout import Truth


def as_json(comparison: Comparison) -> str:
    """Return a comparison as JSON; ``docs/simulate.md`` lists the fields."""
    world, trace = comparison.world, comparison.trace
    document = {
        "trace": {
            "name": trace.name,
            "start": trace.origin.isoformat(),
            "duration_seconds": trace.duration_seconds,
            "requests_per_simulated_request": trace.requests_each,
        },
        "scenario": {
            "objective_seconds": world.objective_seconds,
            "percent": world.percent,
            "seed": world.seed,
            "assumptions": list(comparison.assumptions),
        },
        "oracle": {
            "keeps_promise": comparison.is_promise_within_reach,
            "peak_replicas": int(comparison.oracle.totals.max()),
        },
        "policies": {name: _numbers(result, comparison) for name, result in comparison.results.items()},
    }
    return json.dumps(document, indent=2, allow_nan=False)


def _numbers(result: Result, comparison: Comparison) -> dict[str, Any]:
    replay = result.replay
    truth = {kind: int(replay.truth[kind]) * comparison.trace.requests_each for kind in Truth}
    return {
        "share_within_objective": replay.share_within_objective,
        "replica_hours": replay.replica_hours,
        "oracle_replica_hours": result.oracle_replica_hours,
        "scaling_actions": replay.scaling_actions,
        "worst_minute_share": result.worst_minute_share,
        "cost": result.cost(comparison.prices),
        "replica_hours_by_pool": {name: seconds / 3600 for name, seconds in replay.replica_seconds.items()},
        "requests": truth[Truth.REQUESTS],
        "refused": truth[Truth.REFUSED],
        "timed_out": truth[Truth.TIMED_OUT],
        "lost": truth[Truth.LOST],
    }


def as_table(comparison: Comparison) -> RenderableType:
    """Return what people read: the table, what it says in a sentence, and what was assumed."""
    objective = format_micros(comparison.world.objective_seconds * 1e6)
    table = Table(box=None, pad_edge=False)
    table.add_column("POLICY", no_wrap=True)
    headers = (f"WITHIN {objective}", "WORST MINUTE", "REPLICA-HOURS", "OF ORACLE", "COST", "ACTIONS")
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True)
    for name, result in comparison.results.items():
        share = result.replay.share_within_objective
        style = "" if share >= comparison.world.share_promised else "red"
        table.add_row(
            name,
            Text(percentage(share), style=style),
            percentage(result.worst_minute_share),
            f"{result.replay.replica_hours:.2f}",
            f"{result.hours_of_oracle:.2f}x",
            f"{result.cost(comparison.prices):.2f}",
            str(result.replay.scaling_actions),
        )
    return Group(Text(_headline(comparison)), Text(), table, Text(), *_sentences(comparison))


def percentage(share: float) -> str:
    """Return a share as a percentage, never rounded up to a hundred."""
    if share < 1.0 and share > 0.9999:
        return "99.99%"
    return f"{share:.2%}"


def time_unit(seconds: float) -> tuple[str, float]:
    """Return the largest unit of which ``seconds`` is two or more (an hour is told in hours), and its length."""
    units = (("days", 86_400.0, 2), ("hours", 3600.0, 1), ("minutes", 60.0, 2))
    return next(((unit, length) for unit, length, fewest in units if seconds >= fewest * length), ("seconds", 1.0))


def _headline(comparison: Comparison) -> str:
    trace = comparison.trace
    unit, unit_seconds = time_unit(trace.duration_seconds)
    span = f"{trace.duration_seconds / unit_seconds:.1f} {unit}"
    requests = trace.requests * trace.requests_each
    begin = f" from {trace.origin:%a %Y-%m-%d %H:%M} UTC" if trace.is_dated else ""
    return f"{trace.name}: {span}{begin}, {requests:,.0f} requests"


def _sentences(comparison: Comparison) -> list[Text]:
    lines = [Text(line) for line in _findings(comparison)]
    if comparison.assumptions:
        lines += [Text(), Text("Assumed:"), *(Text(f"- {each}") for each in comparison.assumptions)]
    return lines


def _findings(comparison: Comparison) -> list[str]:
    world = comparison.world
    promise = f"{world.percent:g}% within {format_micros(world.objective_seconds * 1e6)}"
    if not comparison.is_promise_within_reach:
        return [f"Not even the oracle keeps the promise of {promise}: more replicas, or faster ones, are needed."]
    kept = [
        name
        for name, result in comparison.results.items()
        if name != PolicyName.ORACLE and result.replay.share_within_objective >= world.share_promised
    ]
    if not kept:
        return [f"None of these policies keeps the promise of {promise}."]
    cheapest = min(kept, key=lambda name: comparison.results[name].cost(comparison.prices))
    return [f"{cheapest} is the cheapest that keeps the promise of {promise}."]
