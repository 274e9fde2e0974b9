"""A comparison as a picture: the load, and what each policy ran."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tfserving_operator.autoscaling.buckets import format_micros
from tfserving_operator.simulation.comparison import Comparison, Result
from tfserving_operator.simulation.kernel.layout import Array
from tfserving_operator.simulation.report import percentage, time_unit

_POINTS = 2000
_MARKERS = ("●", "▪", "○", "△", "+", "x")
_ROWS = 16
FORMATS = (".png", ".svg", ".pdf")


class PictureError(ValueError):
    """The picture cannot be written; the message says why."""


def ready_replicas(result: Result, points: int) -> tuple[Array, Array]:
    """Return moments in seconds and the ready replicas then, over all pools: at most so many, the highest of each."""
    totals = result.replay.ready.sum(axis=1)
    edges = np.unique(np.linspace(0, len(totals), points + 1).astype(int))[:-1]
    return (edges + 1) * result.replay.tick_seconds, np.maximum.reduceat(totals, edges)


def draw_in_terminal(comparison: Comparison, *, columns: int) -> str:
    """Return ready replicas by time as text, ``columns`` wide and without colours."""
    from plotext import figure, uncolorize

    unit, unit_seconds = time_unit(comparison.trace.duration_seconds)
    figure.clear()
    figure.theme("colorless")
    figure.plot_size(columns, _ROWS)
    # What is drawn last lies on top.
    drawn = list(zip(_MARKERS, comparison.results.items(), strict=False))
    for marker, (_, result) in reversed(drawn):
        seconds, ready = ready_replicas(result, 2 * columns)
        figure.draw(figure.signal((seconds / unit_seconds).tolist(), ready.tolist(), marker=marker))
    figure.ruler("y").lim(0)
    figure.ruler("x").lim(0, comparison.trace.duration_seconds / unit_seconds)
    figure.title("ready replicas: " + ", ".join(f"{marker} {name}" for marker, (name, _) in drawn))
    figure.label(unit, axis="x")
    text = str(uncolorize(str(figure.build())))
    figure.clear()
    return text.rstrip()


def check_format(path: Path) -> None:
    """Raise PictureError where the suffix of ``path`` is none of the formats that pictures are written in."""
    if path.suffix.lower() not in FORMATS:
        raise PictureError(f"cannot write the picture {path}: its name must end in one of {', '.join(FORMATS)}")


def write_picture(comparison: Comparison, path: Path) -> None:
    """Write load and ready replicas by time to ``path``, in the format that its suffix names: png, svg or pdf.

    Raises:
        PictureError: The format is unknown, or the file cannot be written.
    """
    from matplotlib.figure import Figure

    check_format(path)
    unit, unit_seconds = time_unit(comparison.trace.duration_seconds)
    picture = Figure(figsize=(11, 6), layout="constrained")
    load_axes, axes = picture.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    trace = comparison.trace
    moments = np.linspace(0, trace.duration_seconds, _POINTS)
    load_axes.fill_between(moments / unit_seconds, trace.rate_at(moments) * trace.requests_each, color="0.8")
    load_axes.set(ylabel="requests/s", ylim=(0, None), title=_title(comparison))
    for name, result in comparison.results.items():
        seconds, ready = ready_replicas(result, _POINTS)
        share = percentage(result.replay.share_within_objective)
        label = f"{name}: {share} within the objective, {result.hours_of_oracle:.2f}x the oracle's hours"
        axes.step(seconds / unit_seconds, ready, where="post", linewidth=1, label=label)
    axes.set(xlabel=unit, ylabel="ready replicas", ylim=(0, None))
    axes.legend(fontsize="small", framealpha=0.8)
    try:
        picture.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        words = error.strerror if isinstance(error, OSError) else str(error)
        raise PictureError(f"cannot write the picture {path}: {words}") from error


def _title(comparison: Comparison) -> str:
    world = comparison.world
    return f"{comparison.trace.name}: {world.percent:g}% within {format_micros(world.objective_seconds * 1e6)}"
