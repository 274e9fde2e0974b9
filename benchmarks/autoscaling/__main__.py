"""All traces, scenarios and policies side by side: ``python -m benchmarks.autoscaling``."""

from __future__ import annotations

from multiprocessing import get_context
from pathlib import Path

import click

from benchmarks.autoscaling.contest import SCENARIOS, SWEPT_UTILISATIONS, CaseResult, cases, run
from benchmarks.autoscaling.picture import draw
from benchmarks.autoscaling.report import MAIN, RIVALS, as_markdown, totals

HERE = Path(__file__).parent
POLICIES = tuple(name for name in MAIN if name != "Oracle")


@click.command()
@click.option("--trace", "traces", multiple=True, type=click.Path(path_type=Path, exists=True),
              help="A trace or a folder of them. Left out: all of the repository.")  # fmt: skip
@click.option("--scenario", "scenarios", multiple=True, help="Name of a file in scenarios. Left out: all.")
@click.option("--policy", "policies", multiple=True, help="Latency, HPA, KPA, Fixed, StaticPeak. Left out: all.")
@click.option("--sweep/--no-sweep", default=False, help="HPA and KPA at other targets as well.")
@click.option("--seed", default=1, show_default=True, help="Of arrivals, service times and start-up times.")
@click.option("--processes", default=2, show_default=True, help="Replays at the same time.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for RESULTS.md and pictures.")
def main(
    traces: tuple[Path, ...],
    scenarios: tuple[str, ...],
    policies: tuple[str, ...],
    sweep: bool,
    seed: int,
    processes: int,
    out: Path | None,
) -> None:
    """Replay traces against policies and print one table."""
    contenders = policies or POLICIES
    if sweep:
        contenders += tuple(f"{name} {share:g}" for name in RIVALS for share in SWEPT_UTILISATIONS)
    named = scenarios or tuple(sorted(path.stem for path in SCENARIOS.glob("*.yaml")))
    wanted = cases(traces or (HERE / "traces",), named, contenders, seed=seed)
    results: list[CaseResult] = []
    with get_context("spawn").Pool(processes) as pool:
        for result in pool.imap(run, wanted):
            results.append(result)
            click.echo(_line(result), err=True)
    table = as_markdown(results)
    click.echo(table)
    if out is not None:
        for result in results:
            draw(result, out / "pictures" / f"{result.case.trace.stem}-{result.case.scenario}.png")
        (out / "tables.md").write_text(table)


def _line(result: CaseResult) -> str:
    shown = [
        f"{name} {share:.2%} {relative:.2f}x"
        for name in result.outcomes
        for share, relative in [totals([result], name)]
        if " " not in name
    ]
    return f"{result.case.name}: {', '.join(shown)}"


if __name__ == "__main__":
    main()
