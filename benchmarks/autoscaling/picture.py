"""One picture for a trace: what was needed, and what each policy ran."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np

from benchmarks.autoscaling.contest import CaseResult

matplotlib.use("Agg")
from matplotlib import pyplot

COLOURS = {"Latency": "tab:blue", "HPA": "tab:orange", "KPA": "tab:green"}


def draw(result: CaseResult, path: Path) -> None:
    """Write the picture of ``result`` to ``path``."""
    figure, axes = pyplot.subplots(figsize=(9, 3), layout="constrained")
    hours = np.linspace(0, result.hours, len(result.needed_rate))
    axes.fill_between(hours, result.needed_rate, color="0.85", label="load, in replicas")
    for name, colour in COLOURS.items():
        outcome = result.outcomes.get(name)
        if outcome is None:
            continue
        relative = outcome.replica_hours / max(1e-9, result.outcomes["Oracle"].replica_hours)
        label = f"{name}: {outcome.share:.2%}, {relative:.2f}x"
        axes.step(hours, outcome.ready, where="post", color=colour, linewidth=0.9, label=label)
    axes.set(title=result.case.name, xlabel="hours", ylabel="ready replicas", ylim=(0, None))
    axes.legend(fontsize=7, loc="upper left", framealpha=0.8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=70, metadata={"Software": None})
    pyplot.close(figure)
