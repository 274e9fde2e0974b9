"""Write the generated traces: ``python -m benchmarks.autoscaling.generate [--out DIR]``; the same files every time.

Each trace stands for one trouble of an autoscaler. Those under ``tuning/`` may be looked at while a policy is
improved; those under ``held-out/`` may not: they only say whether what was learned carries over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt

Series = npt.NDArray[np.float64]
TRACES = Path(__file__).parent / "traces"
HOUR = 3600.0
DAY = 24 * HOUR


@dataclass(frozen=True)
class Trace:
    """Rates at the starts of equal steps; other columns have as many rows."""

    step_seconds: float
    requests_per_second: Series
    columns: Mapping[str, Series] = field(default_factory=dict)


Generator = Callable[[np.random.Generator], Trace]


def steps(duration_seconds: float, step_seconds: float) -> Series:
    return np.arange(0.0, duration_seconds, step_seconds)


def wandering(random: np.random.Generator, count: int, *, spread: float, memory: float) -> Series:
    """Factors around 1 that remember: exp of a first-order autoregression with that stationary spread."""
    steps = random.normal(0.0, spread * np.sqrt(1 - memory**2), count)
    level, levels = random.normal(0.0, spread), np.empty(count)
    for index, step in enumerate(steps):
        level = memory * level + step
        levels[index] = level
    factors: Series = np.exp(levels)
    return factors


def day_shape(seconds: Series, *, peak_hour: float, night_share: float, evening: float = 0.0) -> Series:
    """A working day between ``night_share`` and about 1, with a second bump ``evening`` six hours after the peak."""
    hours = (seconds / HOUR) % 24
    swing = 0.5 + 0.5 * np.cos((hours - peak_hour) * np.pi / 12)
    lunch = 1 - 0.12 * np.exp(-(((hours - peak_hour + 1.5) / 0.6) ** 2))
    bump = evening * np.exp(-(((hours - peak_hour - 6) / 1.2) ** 2))
    shape: Series = night_share + (1 - night_share) * swing**1.5 * lunch + bump
    return shape


def crowd(seconds: Series, *, at: float, rise: float, hold: float, decay: float) -> Series:
    """0 before ``at``, 1 after ``rise``, and after ``hold`` an exponential way back."""
    up = np.clip((seconds - at) / rise, 0.0, 1.0)
    down = np.exp(-np.maximum(0.0, seconds - at - rise - hold) / decay)
    shape: Series = up * down
    return shape


def diurnal(random: np.random.Generator) -> Trace:
    seconds = steps(2 * DAY, 30)
    day = day_shape(seconds, peak_hour=14, night_share=0.15, evening=0.2)
    return Trace(30, 1200 * day * wandering(random, len(seconds), spread=0.04, memory=0.95))


def spikes(random: np.random.Generator) -> Trace:
    seconds = steps(12 * HOUR, 10)
    rate = 300 * wandering(random, len(seconds), spread=0.08, memory=0.98)
    at = 0.0
    while (at := at + random.exponential(20 * 60)) < seconds[-1]:
        height = 300 * (0.5 + random.pareto(2.5))
        rise, hold, decay = random.uniform(10, 60), random.uniform(20, 180), random.uniform(30, 240)
        rate += min(height, 1500) * crowd(seconds, at=at, rise=rise, hold=hold, decay=decay)
    return Trace(10, rate)


def ramps(random: np.random.Generator) -> Trace:
    seconds = steps(8 * HOUR, 10)
    corners, levels = [0.0], [200.0]
    while corners[-1] < seconds[-1]:
        corners += [corners[-1] + random.uniform(600, 1500)]
        levels += [levels[-1]]
        corners += [corners[-1] + random.choice([60, 180, 600, 1200])]
        levels += [random.uniform(100, 1400)]
    return Trace(10, np.interp(seconds, corners, levels) * wandering(random, len(seconds), spread=0.02, memory=0.9))


def flash_crowd(random: np.random.Generator) -> Trace:
    seconds = steps(6 * HOUR, 10)
    rate = 150 * wandering(random, len(seconds), spread=0.05, memory=0.97)
    rate += 1350 * crowd(seconds, at=1.5 * HOUR, rise=120, hold=600, decay=2400)
    rate += 600 * crowd(seconds, at=4 * HOUR, rise=45, hold=300, decay=900)
    return Trace(10, rate)


def on_off(random: np.random.Generator) -> Trace:
    seconds = steps(6 * HOUR, 10)
    rate, at, is_on = np.full(len(seconds), 40.0), 0.0, False
    while at < seconds[-1]:
        until = at + random.uniform(400, 1100)
        if is_on:
            rate[(seconds >= at) & (seconds < until)] = random.uniform(600, 900)
        at, is_on = until, not is_on
    return Trace(10, rate * wandering(random, len(seconds), spread=0.03, memory=0.8))


def service_drift(random: np.random.Generator) -> Trace:
    """The load is easy; what a replica carries is not: it worsens slowly, then a new version halves the loss."""
    seconds = steps(12 * HOUR, 30)
    day = day_shape(seconds + 8 * HOUR, peak_hour=14, night_share=0.3)
    scale = np.interp(seconds / HOUR, [0, 2, 6, 8.99, 9, 12], [1.0, 1.0, 1.6, 1.6, 1.2, 1.2])
    rate = 900 * day * wandering(random, len(seconds), spread=0.03, memory=0.95)
    return Trace(30, rate, {"service_time_scale": scale})


def gpu_scarcity(random: np.random.Generator) -> Trace:
    """Nodes run out in the middle of a rise and come back one by one."""
    seconds = steps(12 * HOUR, 30)
    day = day_shape(seconds + 6 * HOUR, peak_hour=13, night_share=0.2)
    gpus = np.interp(seconds / HOUR, [0, 2.99, 3, 5, 7, 12], [40, 40, 8, 8, 40, 40]).round()
    rate = 1000 * day * wandering(random, len(seconds), spread=0.04, memory=0.95)
    return Trace(30, rate, {"gpus_available": gpus})


def launch_day(random: np.random.Generator) -> Trace:
    seconds = steps(2 * DAY, 30)
    day = day_shape(seconds, peak_hour=20, night_share=0.25)
    rate = 600 * day * wandering(random, len(seconds), spread=0.06, memory=0.97)
    rate += 900 * crowd(seconds, at=33 * HOUR, rise=180, hold=1200, decay=5400)
    return Trace(30, rate)


def live_video(random: np.random.Generator) -> Trace:
    """Viewers come within two minutes of the start of each event and go when it ends; a wide evening beneath."""
    seconds = steps(DAY, 20)
    rate = (
        350
        * day_shape(seconds, peak_hour=20.5, night_share=0.1)
        * wandering(random, len(seconds), spread=0.05, memory=0.97)
    )
    for hour in (10, 12.5, 15, 18, 19, 20, 21):
        viewers = random.uniform(150, 700)
        start = hour * HOUR + random.uniform(-30, 60)
        rate += viewers * crowd(seconds, at=start, rise=120, hold=random.uniform(1800, 5400), decay=150)
    return Trace(20, rate)


def hourly_jobs(random: np.random.Generator) -> Trace:
    """Clients with the same crontab: a burst on the hour, smaller ones each quarter, on a light day."""
    seconds = steps(DAY, 10)
    rate = 250 * day_shape(seconds, peak_hour=15, night_share=0.4)
    rate *= wandering(random, len(seconds), spread=0.05, memory=0.9)
    for quarter in range(96):
        height = random.uniform(500, 800) if quarter % 4 == 0 else random.uniform(100, 250)
        start = quarter * 900 + random.uniform(0, 10)
        rate += height * crowd(seconds, at=start, rise=10, hold=random.uniform(60, 150), decay=30)
    return Trace(10, rate)


def language_model(random: np.random.Generator) -> Trace:
    """Few and costly requests whose rate is drawn anew every few seconds around a level that jumps (Markov)."""
    seconds = steps(3 * HOUR, 5)
    levels, rate, level = (15.0, 30.0, 55.0), np.empty(len(seconds)), 0
    for index in range(len(seconds)):
        if random.random() < 5 / 400:
            level = int(random.choice([other for other in range(3) if other != level]))
        rate[index] = levels[level] * random.gamma(4.0, 1 / 4.0)
    return Trace(5, rate)


def self_similar(random: np.random.Generator) -> Trace:
    """Noise on all time scales: sums of on/off sources with heavy-tailed times (Willinger et al., 1997)."""
    seconds = steps(12 * HOUR, 10)
    rate = np.zeros(len(seconds))
    for _ in range(60):
        at, is_on = 0.0, bool(random.random() < 0.4)
        while at < seconds[-1]:
            until = at + min(4 * HOUR, (40 if is_on else 60) * (1 + random.pareto(1.4)))
            if is_on:
                rate[int(at / 10) : int(until / 10) + 1] += 25.0
            at, is_on = until, not is_on
    return Trace(10, rate + 20)


TUNING: Mapping[str, Generator] = {
    "diurnal": diurnal,
    "spikes": spikes,
    "ramps": ramps,
    "flash-crowd": flash_crowd,
    "on-off": on_off,
    "service-drift": service_drift,
    "gpu-scarcity": gpu_scarcity,
}
HELD_OUT: Mapping[str, Generator] = {
    "launch-day": launch_day,
    "live-video": live_video,
    "hourly-jobs": hourly_jobs,
    "language-model": language_model,
    "self-similar": self_similar,
}


def write(trace: Trace, path: Path) -> None:
    """Write ``trace`` as a CSV of four significant digits."""
    header = ["time_seconds", "requests_per_second", *trace.columns]
    rows = zip(trace.requests_per_second, *trace.columns.values(), strict=True)
    lines = [",".join([f"{index * trace.step_seconds:g}", *(f"{value:.4g}" for value in row)])
             for index, row in enumerate(rows)]  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([",".join(header), *lines]) + "\n")


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=TRACES, help="Folder of the traces.")
def main(out: Path) -> None:
    """Write every generated trace."""
    for folder, generators in (("tuning", TUNING), ("held-out", HELD_OUT)):
        for number, (name, generate) in enumerate(generators.items()):
            seed = [1998 if folder == "tuning" else 2026, number, len(folder)]
            write(generate(np.random.default_rng(seed)), out / folder / f"{name}.csv")


if __name__ == "__main__":
    main()
