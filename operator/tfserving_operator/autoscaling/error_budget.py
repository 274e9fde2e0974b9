"""How much of what may be late was late, over the last hours."""

from __future__ import annotations

from dataclasses import dataclass

from tfserving_operator.autoscaling.outcomes import late_between

HALF_LIFE_SECONDS = 6 * 3600.0
"""Long enough to span a day's peak, short enough to forgive last week's incident."""
_LONGEST_STEP_SECONDS = 60.0
_AS_PLANNED = 0.6
PLANNED = 0.85
"""Share of what may be late that is meant to be late: the rest is for surprises."""
PRICE = 5.0
"""What one percent of late requests is worth in percent of replicas, while the budget is spent as planned."""
LEAST_PRICE, MOST_PRICE = 1.0, 15.0
LEAST_LEEWAY, MOST_LEEWAY = 0.8, 3.0


@dataclass(frozen=True, slots=True)
class ErrorBudget:
    """Requests and late ones, fading. Times are epoch seconds."""

    requests: float = 0.0
    late: float = 0.0
    """Beyond the bucket edge below the objective."""
    late_above: float = 0.0
    """Beyond the bucket edge above it."""
    at: float = 0.0

    def with_sample(
        self,
        requests_per_second: float,
        late_per_second: float,
        *,
        at: float,
        late_above_per_second: float | None = None,
    ) -> ErrorBudget:
        """Return the budget after a sample; one that is not newer than the newest changes nothing."""
        seconds = at - self.at
        if seconds <= 0:
            return self
        kept = 0.5 ** (min(seconds, HALF_LIFE_SECONDS) / HALF_LIFE_SECONDS)
        seconds = min(seconds, _LONGEST_STEP_SECONDS)
        above = late_per_second if late_above_per_second is None else late_above_per_second
        return ErrorBudget(
            self.requests * kept + requests_per_second * seconds,
            self.late * kept + late_per_second * seconds,
            self.late_above * kept + above * seconds,
            at,
        )

    def spent(self, promised: float, *, prior_requests: float, place: float = 0.0) -> float:
        """Return late requests over what may be late: 1 when just the promise was kept.

        ``promised`` is the share that may be late. Before much was seen, ``prior_requests`` are taken to have been as
        planned: somewhat better than promised.
        """
        requests = self.requests + prior_requests
        if requests <= 0:
            return _AS_PLANNED
        late = late_between(self.late, self.late_above, requests=self.requests, place=place, fewest=0.5)
        return (late + _AS_PLANNED * promised * prior_requests) / (promised * requests)


def price_of_late(spent: float) -> float:
    """Return what one percent of late requests is worth in percent of replicas: the more, the more was ``spent``."""
    return min(MOST_PRICE, max(LEAST_PRICE, PRICE * spent / PLANNED))


def leeway(spent: float) -> float:
    """Return the share of late requests that replicas are sized for, as a multiple of what is promised.

    A promise over hours need not be kept in each minute: what a calm load leaves of the budget saves replicas.
    """
    left = PLANNED / max(spent, 0.01)
    return min(MOST_LEEWAY, max(LEAST_LEEWAY, left * left))
