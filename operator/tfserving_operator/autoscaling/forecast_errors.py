"""How far forecasts were off lately: a small histogram that forgets."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from math import erf, sqrt

EDGES = (
    *(-2.0, -1.0, -0.5, -0.25, -0.1, 0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0),
    *(5.0, 6.0, 8.0, 10.0, 13.0, 17.0, 22.0, 30.0, 40.0, 60.0, 100.0, 200.0),
)
"""Upper ends of the bins, in spreads; the last bin, past them all, is open."""
LOWEST, HIGHEST = -4.0, 300.0
"""What the open bins are taken to reach to."""
_PRIOR_EVIDENCE = 8.0
"""What is assumed before anything was seen weighs as much as so many errors."""
_PRIOR_MEAN, _PRIOR_DEVIATION = 0.2, 1.2
"""In spreads: a load of which nothing is known rather grows, and is a little less steady than usual."""

_LEAST_RATE = 0.1
"""A load that is far below its forecast is taken for this share of the level: no bin weighs nothing."""


def _prior() -> tuple[float, ...]:
    below = [0.5 * (1 + erf((edge - _PRIOR_MEAN) / _PRIOR_DEVIATION / sqrt(2))) for edge in EDGES]
    shares = [high - low for low, high in zip([0.0, *below], [*below, 1.0], strict=True)]
    return tuple(_PRIOR_EVIDENCE * share for share in shares)


@dataclass(frozen=True, slots=True)
class ForecastErrors:
    """Errors of past forecasts (truth minus forecast), in spreads; newer ones are given more weight."""

    weights: tuple[float, ...] = _prior()
    """Evidence in each bin."""
    total: float = _PRIOR_EVIDENCE
    squares: float = _PRIOR_EVIDENCE * (_PRIOR_MEAN**2 + _PRIOR_DEVIATION**2)
    """Weighted sum of the squared errors."""
    counting: float = 0.0
    """What the noise of counting adds to it: requests that come independently of each other."""

    def with_error(self, error: float, *, weight: float, counting: float = 0.0) -> ForecastErrors:
        """Return the record with one more error; ``counting`` is the variance of counting in it, in spreads squared."""
        weights = list(self.weights)
        weights[bisect_left(EDGES, error)] += weight
        bounded = max(LOWEST, min(HIGHEST, error))
        return ForecastErrors(
            tuple(weights),
            self.total + weight,
            self.squares + weight * bounded * bounded,
            self.counting + weight * counting,
        )

    def scaled(self, factor: float) -> ForecastErrors:
        """Return the same record with all weights multiplied, so that ever newer weights do not overflow."""
        weights = tuple(factor * weight for weight in self.weights)
        return ForecastErrors(weights, factor * self.total, factor * self.squares, factor * self.counting)

    @property
    def real_share(self) -> float:
        """How far errors remain, 0 to 1, when the noise of counting is taken out: a ratio of standard deviations."""
        return sqrt(max(0.0, 1 - self.counting / self.squares))

    def exceeded_with(self, risk: float) -> float:
        """Return the error, in spreads, that the share ``risk`` of forecasts exceeded."""
        remaining = risk * self.total
        for index in range(len(EDGES), -1, -1):
            weight = self.weights[index]
            if weight >= remaining:
                low = EDGES[index - 1] if index else LOWEST
                high = EDGES[index] if index < len(EDGES) else HIGHEST
                return high - (high - low) * remaining / weight
            remaining -= weight
        return LOWEST

    def cheapest_margin(self, *, spread_share: float, forecast_share: float, exchange: float) -> tuple[float, float]:
        """Return the margin, in spreads, past which more costs more than it saves, and what it costs.

        All costs are shares of the replicas that the level needs. A spread of margin costs ``spread_share``. Load
        above the margin costs ``exchange`` times its share of the requests: at such a time the rate is the forecast,
        ``forecast_share`` of the level, plus the error. So the margin covers what is near or frequent, and leaves
        out what is rare and far away (the newsvendor's problem with a cost by lost request; Arrow, Harris and
        Marschak, Optimal inventory policy, Econometrica 1951).
        """
        rate = exchange / self.total
        lost = rate * self.weights[-1] * (forecast_share + HIGHEST * spread_share)
        best_margin, best_cost = EDGES[-1], EDGES[-1] * spread_share + lost
        for index in range(len(EDGES) - 1, 0, -1):
            margin = EDGES[index - 1]
            lost += rate * self.weights[index] * max(_LEAST_RATE, forecast_share + EDGES[index] * spread_share)
            cost = margin * spread_share + lost
            if cost < best_cost:
                best_margin, best_cost = margin, cost
        return best_margin, best_cost

    def missed_beyond(self, margin: float, *, spread_share: float, forecast_share: float) -> float:
        """Return the share of requests that come while the error is more than ``margin`` spreads.

        A share of what the level brings, in the terms of ``cheapest_margin``; of a bin that ``margin`` lies in, the
        part past it counts.
        """
        missed = 0.0
        for index in range(len(EDGES), -1, -1):
            low = EDGES[index - 1] if index else LOWEST
            high = EDGES[index] if index < len(EDGES) else HIGHEST
            if high <= margin:
                break
            past = min(1.0, (high - margin) / (high - low))
            missed += past * self.weights[index] * max(_LEAST_RATE, forecast_share + high * spread_share)
        return missed / self.total
