"""Tables of a benchmark run, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.autoscaling.contest import CaseResult, Outcome
from tfserving_operator.simulation.comparison import USUAL_UTILISATION

MAIN = ("Latency", "HPA", "KPA", "Fixed", "StaticPeak", "Oracle")
RIVALS = ("HPA", "KPA")


def as_markdown(results: Sequence[CaseResult]) -> str:
    """Return the summary, a table by group of traces, and the frontier of HPA and KPA where it was swept."""
    groups = list(dict.fromkeys(result.case.group for result in results))
    parts = [_summary("all traces", results)]
    parts += [_summary(group, [each for each in results if each.case.group == group]) for group in groups]
    lines = ["| Traces | Policy | Within the objective | Replica-hours / oracle |", "|---|---|---|---|", *parts]
    for group in groups:
        lines += ["", f"## {group}", "", *_table([each for each in results if each.case.group == group])]
    frontier = _frontier(results)
    if frontier:
        lines += ["", "## HPA and KPA at other targets", "", *frontier]
    return "\n".join(lines) + "\n"


def _summary(label: str, results: Sequence[CaseResult]) -> str:
    rows = []
    for name in _contenders(results):
        share, relative = totals(results, name)
        rows.append(f"| {label} | {name} | {share:.3%} | {relative:.3f} |")
    return "\n".join(rows)


def _contenders(results: Sequence[CaseResult]) -> list[str]:
    return [name for name in MAIN if all(name in result.outcomes for result in results)]


def totals(results: Iterable[CaseResult], name: str) -> tuple[float, float]:
    """Return the share over all requests, and replica-hours over the oracle's."""
    chosen = [(result.outcomes[name], result.outcomes["Oracle"]) for result in results if name in result.outcomes]
    requests = sum(mine.requests for mine, _ in chosen)
    good = sum(mine.share * mine.requests for mine, _ in chosen)
    hours = sum(mine.replica_hours for mine, _ in chosen)
    return good / max(1, requests), hours / max(1e-9, sum(oracle.replica_hours for _, oracle in chosen))


def _table(results: Sequence[CaseResult]) -> list[str]:
    names = _contenders(results)
    lines = [f"| Trace | {' | '.join(names)} | Latency better on both |", "|---|" + "---|" * (len(names) + 1)]
    for result in results:
        cells = [_cell(result.outcomes[name], result.outcomes["Oracle"]) for name in names]
        lines.append(f"| {result.case.name} | {' | '.join(cells)} | {_verdict(result)} |")
    lines += ["", "A cell: share within the objective, replica-hours / oracle, scaling actions, worst minute."]
    return lines


def _cell(outcome: Outcome, oracle: Outcome) -> str:
    relative = outcome.replica_hours / max(1e-9, oracle.replica_hours)
    return f"{outcome.share:.2%} {relative:.2f}x {outcome.scaling_actions} {outcome.worst_minute_share:.0%}"


def _verdict(result: CaseResult) -> str:
    mine = result.outcomes.get("Latency")
    if mine is None:
        return ""
    words = []
    for name in RIVALS:
        rival = result.outcomes.get(name)
        if rival is None:
            continue
        is_fewer = mine.replica_hours <= rival.replica_hours
        is_served = mine.share >= rival.share
        kept = " (both keep 99%)" if min(mine.share, rival.share) >= 0.99 else ""
        words.append(f"{name}: {_WORDS[is_fewer, is_served]}{kept}")
    return ", ".join(words)


_WORDS = {(True, True): "both", (True, False): "cost", (False, True): "share", (False, False): "neither"}


def _frontier(results: Sequence[CaseResult]) -> list[str]:
    names = list(dict.fromkeys(name for result in results for name in result.outcomes if " " in name))
    if not names:
        return []
    swept = [result for result in results if all(name in result.outcomes for name in names)]
    rows = {f"{name} {USUAL_UTILISATION:g}": totals(swept, name) for name in RIVALS}
    rows.update({name: totals(swept, name) for name in names})
    lines = [
        "| Policy and share of capacity aimed at | Within the objective | Replica-hours / oracle |",
        "|---|---|---|",
    ]
    lines += [f"| {name} | {share:.3%} | {relative:.3f} |" for name, (share, relative) in sorted(rows.items())]
    share, relative = totals(swept, "Latency")
    return [*lines, f"| **Latency** | **{share:.3%}** | **{relative:.3f}** |"]
