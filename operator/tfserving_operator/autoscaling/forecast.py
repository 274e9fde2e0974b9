"""What the load will be while a replica starts.

Several simple forecasts run side by side: averages over longer and longer memories, and one that follows a damped
trend (Gardner and McKenzie, Forecasting trends in time series, Management Science 1985). For each of them it is
remembered how far off it was at several distances (conformal prediction with forgetting weights: Barber et al.,
Conformal prediction beyond exchangeability, Annals of Statistics 2023). The errors are kept in units of ``spread``,
Poisson noise and a few percent of the rate, so that those of the night say something about the day. Asked how much
load to provide for, each answers with its cheapest margin, and they count by what that costs: the more costly, the
exponentially less (Cesa-Bianchi and Lugosi, Prediction, Learning, and Games, 2006, chapter 2). So steady noise ends up
with a long average and a small margin, a swing with the trend, and a load that jumps with what jumps it made.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from datetime import datetime
from math import ceil, exp, sqrt

from tfserving_operator.autoscaling.forecast_errors import ForecastErrors

DISTANCES_SECONDS = (15.0, 30.0, 60.0, 120.0, 240.0, 480.0)
"""How far ahead errors are remembered; between two of them the farther one counts."""
RELATIVE_SPREAD = 0.03
"""Rates of people's traffic wander by a few percent within a minute, however many they are."""
MEMORIES_SECONDS = (0.0, 60.0, 180.0, 600.0)
"""Time constants of the averages, from the newest sample alone to ten minutes."""
NEWEST, MINUTE = 0, 1
TREND_MEMORY_SECONDS = 60.0
TREND_BASE_MEMORY_SECONDS = 30.0
TREND_LIFE_SECONDS = 70.0
"""How long a trend is expected to last, on average."""
ERROR_HALF_LIFE_SECONDS = 1800.0
LONGEST_GAP_SECONDS = 4 * 3600.0
"""Longer ones without telemetry count as so long: something is still remembered."""
COST_SCALE = 0.02
"""A forecast whose margin costs 2% of the replicas more than the best one's weighs exp(-1) as much."""
SURGE_GROWS = 3.0
"""In a surge beyond all forecasts, the rise of the last half minute is expected to come three times more, until this
load's own surges have shown how much: catching one early saves more requests than an overshoot costs replicas."""
SURGE_SPREADS = 3.0
"""A rise of so many spreads within half a minute is a surge to learn from."""
SURGE_SECONDS = 60.0
SURGE_MEMORY = 0.75
LEAST_GROWTH, MOST_GROWTH = 0.0, 4.0
STEP_SHARE_OF_WINDOW = 0.35
"""Samples nearer than this share of their window overlap too much to be remembered one by one."""
REMEMBERED_STEPS = 48
REFUTING_DEVIATIONS = 2.0
"""Standard deviations of counting by which the newest sample must exceed what was provided for to refute it."""
_HEAVIEST = 1e9
_LEAST_SPREAD = 1e-9
"""Where all errors are noise of counting, a margin is as good as none or endless."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One remembered moment: the rate then, and what each forecast said of the time after it."""

    seconds: float
    spread: float
    opinions: tuple[tuple[float, ...], ...]
    """By distance and forecast."""


@dataclass(frozen=True, slots=True)
class _Surge:
    """A surge whose end is not known yet."""

    seconds: float
    rate: float
    rise: float
    peak: float


@dataclass(frozen=True, slots=True)
class WorthwhilePeak:
    """Load to provide for, in requests per second."""

    rate: float = 0.0
    left_out: float | None = None
    """The rate that would be worth it if replicas could be had in parts; None where that is ``rate``."""


@dataclass(frozen=True, slots=True)
class _View:
    """What one forecast thinks worth providing for. Costs and shares are of the replicas that the level needs."""

    opinion: float
    spread: float
    """The unit of its errors without the noise of counting."""
    spread_share: float
    forecast_share: float
    errors: ForecastErrors
    bound: float
    """The rate up to its cheapest margin."""
    cost: float

    def missed(self, provided: float) -> float:
        """Return the share of requests that come while the rate is above ``provided``."""
        margin = (provided - self.opinion) / max(self.spread, _LEAST_SPREAD)
        return self.errors.missed_beyond(margin, spread_share=self.spread_share, forecast_share=self.forecast_share)


@dataclass(frozen=True, slots=True)
class RateForecast:
    """What is known of one stream of requests; its size is bounded. Rates are requests per second."""

    at: datetime | None = None
    """Time of the newest sample; None before the first."""
    window_seconds: float = 0.0
    averages: tuple[float, ...] = (0.0,) * len(MEMORIES_SECONDS)
    """By memory, the shortest first."""
    trend_base: float = 0.0
    trend: float = 0.0
    """Change of the rate, per second."""
    errors: tuple[tuple[ForecastErrors, ...], ...] = (
        (ForecastErrors(),) * (len(MEMORIES_SECONDS) + 1),
    ) * len(DISTANCES_SECONDS)  # fmt: skip
    """By distance and forecast."""
    newest_weight: float = 1.0
    """What an error weighs now, beside those remembered: it grows instead of all others fading."""
    steps: tuple[_Step, ...] = ()
    surge: _Surge | None = None
    surge_grows: float = SURGE_GROWS
    """By how much more than its first rise a surge of this load grows."""

    @classmethod
    def initial(cls) -> RateForecast:
        """Return the forecast of a load of which nothing is known."""
        return cls()

    @property
    def level(self) -> float:
        """The rate of the last minute or so; 0 before the first sample."""
        return self.averages[MINUTE]

    @property
    def spread(self) -> float:
        """The unit of errors: how far rates usually are from their level."""
        window = max(1.0, self.window_seconds)
        return sqrt(max(self.level, 1 / window) / window + (RELATIVE_SPREAD * self.level) ** 2)

    def observed(self, rate: float, *, at: datetime, window_seconds: float) -> RateForecast:
        """Return the forecast after a sample: ``rate`` averaged over ``window_seconds`` that end ``at``.

        The same sample seen again changes nothing: neither one of the same time, nor the same number again within
        half of a window.
        """
        if self.at is None:
            known = replace(self, at=at, window_seconds=window_seconds, trend_base=rate)
            return replace(known, averages=(rate,) * len(MEMORIES_SECONDS))._remembering(at.timestamp())
        elapsed = (at - self.at).total_seconds()
        if elapsed <= 0 or (rate == self.averages[NEWEST] and elapsed < window_seconds / 2):
            return self
        followed = self._followed(rate, elapsed=elapsed, at=at, window_seconds=window_seconds)
        if at.timestamp() - self.steps[-1].seconds < STEP_SHARE_OF_WINDOW * window_seconds:
            return followed
        seconds = at.timestamp()
        return followed._judged(rate, seconds)._surging(rate, seconds)._remembering(seconds)

    def expected_peak(self, *, now: datetime, horizon_seconds: float, risk: float) -> float:
        """Return the rate that samples at the end of ``horizon_seconds`` exceed with probability ``risk``.

        0 before the first sample.
        """
        if self.at is None:
            return 0.0
        distance = self._distance(now, horizon_seconds)
        margins = [errors.exceeded_with(risk) for errors in self.errors[_remembered_distance(distance)]]
        spread = self.spread
        bounds = [o + m * spread for o, m in zip(self._opinions(distance), margins, strict=True)]
        bound = _weighted([margin * spread / self._scale for margin in margins], bounds)
        return self._outrun(bound, bounds[NEWEST]) if self._is_refuted(bound) else max(0.0, bound)

    def worthwhile_peak(
        self, *, now: datetime, horizon_seconds: float, exchange: float, unit: float = 0.0
    ) -> WorthwhilePeak:
        """Return the rate at the end of ``horizon_seconds`` that is worth providing for; 0 before the first sample.

        ``exchange`` is what one percent of the requests is worth, in percent of the replicas. Steady noise is covered
        nearly whole because that is cheap; a surge of several times the load only when it comes often. Replicas come
        whole, each for ``unit`` requests per second (0 where that is not known): the last one is provided only where
        what it saves is worth all of it.
        """
        if self.at is None:
            return WorthwhilePeak()
        views = self._views(self._distance(now, horizon_seconds), exchange)
        costs = [each.cost for each in views]
        bound = _weighted(costs, [each.bound for each in views])
        if self._is_refuted(bound):
            return WorthwhilePeak(self._outrun(bound, views[NEWEST].bound))
        fewer = (ceil(bound / unit - 1e-9) - 1) * unit if unit > 0 else 0.0
        if fewer <= 0 or self._is_refuted(fewer):
            return WorthwhilePeak(max(0.0, bound))
        saved = _weighted(costs, [each.missed(fewer) - each.missed(fewer + unit) for each in views])
        return WorthwhilePeak(fewer, bound) if exchange * saved < unit / self._scale else WorthwhilePeak(bound)

    def _views(self, distance_seconds: float, exchange: float) -> list[_View]:
        views = []
        errors_here = self.errors[_remembered_distance(distance_seconds)]
        for opinion, errors in zip(self._opinions(distance_seconds), errors_here, strict=True):
            spread = self.spread * errors.real_share
            shares = spread / self._scale, opinion / self._scale
            margin, cost = errors.cheapest_margin(spread_share=shares[0], forecast_share=shares[1], exchange=exchange)
            views.append(_View(opinion, spread, *shares, errors, opinion + margin * spread, cost))
        return views

    @property
    def _scale(self) -> float:
        """What costs are shares of."""
        return max(self.level, self.spread)

    def _is_refuted(self, bound: float) -> bool:
        """Whether the newest sample is above what is provided for, by more than the noise of counting."""
        newest = self.averages[NEWEST]
        return newest - REFUTING_DEVIATIONS * sqrt(newest / max(1.0, self.window_seconds)) > bound

    def _outrun(self, bound: float, newest_bound: float) -> float:
        """Return what to provide for instead of ``bound``: what is exceeded is refuted, however right it was before."""
        newest = self.averages[NEWEST]
        return max(0.0, bound, newest_bound, newest + self.surge_grows * (newest - self.trend_base))

    def _distance(self, now: datetime, horizon_seconds: float) -> float:
        """How far the window of the sample at the end of the horizon is from that of the newest sample."""
        age = (now - self.at).total_seconds() if self.at is not None else 0.0
        return horizon_seconds + max(0.0, age) + self.window_seconds / 2

    def _opinions(self, distance_seconds: float) -> tuple[float, ...]:
        lasting = TREND_LIFE_SECONDS * (1 - exp(-distance_seconds / TREND_LIFE_SECONDS))
        trending = (self.averages[NEWEST] + self.trend_base) / 2 + self.trend * lasting
        return (*self.averages, max(0.0, trending))

    def _followed(self, rate: float, *, elapsed: float, at: datetime, window_seconds: float) -> RateForecast:
        averages = tuple(
            average + _gain(elapsed, memory) * (rate - average)
            for average, memory in zip(self.averages, MEMORIES_SECONDS, strict=True)
        )
        step = _gain(elapsed, TREND_BASE_MEMORY_SECONDS) * (rate - self.trend_base)
        trend = self.trend + _gain(elapsed, TREND_MEMORY_SECONDS) * (step / elapsed - self.trend)
        return replace(
            self,
            at=at,
            window_seconds=window_seconds,
            averages=averages,
            trend_base=self.trend_base + step,
            trend=trend,
        )

    def _judged(self, rate: float, seconds: float) -> RateForecast:
        """Compare what was forecast for now with the rate."""
        elapsed = min(seconds - self.steps[-1].seconds, LONGEST_GAP_SECONDS)
        weight = self.newest_weight * 2 ** (elapsed / ERROR_HALF_LIFE_SECONDS)
        by_distance = list(self.errors)
        made = len(self.steps)
        for index, distance in enumerate(DISTANCES_SECONDS):
            while made and self.steps[made - 1].seconds > seconds - distance + 1:
                made -= 1
            if not made:
                break
            step = self.steps[made - 1]
            if seconds - step.seconds > 2 * distance + self.window_seconds:
                continue  # Telemetry had a gap: this was not forecast for now.
            by_distance[index] = tuple(
                errors.with_error(
                    (rate - opinion) / step.spread,
                    weight=weight,
                    counting=opinion / max(1.0, self.window_seconds) / step.spread**2,
                )
                for errors, opinion in zip(by_distance[index], step.opinions[index], strict=True)
            )
        judged = replace(self, errors=tuple(by_distance), newest_weight=weight)
        return judged._rescaled() if weight > _HEAVIEST else judged

    def _surging(self, rate: float, seconds: float) -> RateForecast:
        """Note a surge when it begins, and a minute later by how much it grew."""
        surge = self.surge
        if surge is None:
            rise = rate - self.trend_base
            if rise <= SURGE_SPREADS * self.spread:
                return self
            return replace(self, surge=_Surge(seconds=seconds, rate=rate, rise=rise, peak=rate))
        if seconds - surge.seconds < SURGE_SECONDS:
            return replace(self, surge=replace(surge, peak=max(surge.peak, rate)))
        growth = min(MOST_GROWTH, max(LEAST_GROWTH, (max(surge.peak, rate) - surge.rate) / surge.rise))
        return replace(self, surge=None, surge_grows=growth + SURGE_MEMORY * (self.surge_grows - growth))

    def _rescaled(self) -> RateForecast:
        factor = 1 / self.newest_weight
        errors = tuple(tuple(each.scaled(factor) for each in forecasts) for forecasts in self.errors)
        return replace(self, errors=errors, newest_weight=1.0)

    def _remembering(self, seconds: float) -> RateForecast:
        opinions = tuple(self._opinions(distance) for distance in DISTANCES_SECONDS)
        step = _Step(seconds=seconds, spread=self.spread, opinions=opinions)
        return replace(self, steps=(*self.steps[1 - REMEMBERED_STEPS :], step))


def _gain(elapsed_seconds: float, memory_seconds: float) -> float:
    return 1 - exp(-elapsed_seconds / memory_seconds) if memory_seconds else 1.0


def _weighted(costs: list[float], values: list[float]) -> float:
    """Return the mean of ``values``: the more costly a forecast's margin, the exponentially less it counts."""
    best = min(costs)
    weights = [exp((best - cost) / COST_SCALE) for cost in costs]
    return sum(weight * value for weight, value in zip(weights, values, strict=True)) / sum(weights)


def _remembered_distance(distance_seconds: float) -> int:
    return min(bisect_left(DISTANCES_SECONDS, distance_seconds / 1.2), len(DISTANCES_SECONDS) - 1)
