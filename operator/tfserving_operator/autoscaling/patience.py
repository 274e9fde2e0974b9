"""How long replicas are kept after their load has gone.

Load that comes in bursts is back before replicas that were given up would have started again. Keeping them costs
replicas, giving them up costs late requests at the next burst (the ski rental problem). So several lengths of patience
are followed side by side, each as if it had been in force: what it would have provided, and what it would have missed.
A longer one may cost as much more as one late burst does; then it must have proven itself (Karlin et al., Competitive
randomized algorithms for nonuniform problems, Algorithmica 1994).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, sqrt

PATIENCES_SECONDS = (0.0, 120.0, 300.0)
"""The first is none beyond the stabilization window of scaling down."""
BIN_SECONDS = 15.0
HALF_LIFE_SECONDS = 7200.0
"""Of what each patience would have cost."""
_CHANCE = 2.0
"""Standard deviations of counting by which a load must exceed what is there to be missed."""
_MOST_BINS = 64


@dataclass(frozen=True, slots=True)
class Patience:
    """Loads of the last minutes, and what each patience would have cost. Times are epoch seconds."""

    bins: tuple[tuple[float, float], ...] = ()
    """Start, and the highest load in requests per second; the newest last."""
    costs: tuple[float, ...] = (0.0,) * len(PATIENCES_SECONDS)
    """Requests that might have been served, and those missed at their price; they fade."""

    def after(
        self,
        rate: float,
        *,
        at: float,
        window_seconds: float,
        late_seconds: float,
        shortest_seconds: float,
        price: float,
    ) -> Patience:
        """Return the patience after a sample of the load, averaged over ``window_seconds``.

        ``late_seconds`` is how long requests are late when a burst finds replicas given up; ``shortest_seconds`` how
        long they are kept anyway; ``price`` what a late request is worth in requests that might have been served.
        """
        if self.bins and at < self.bins[-1][0] + BIN_SECONDS:
            start, peak = self.bins[-1]
            return self if rate <= peak or at < start else replace(self, bins=(*self.bins[:-1], (start, rate)))
        longest = PATIENCES_SECONDS[-1] + late_seconds + BIN_SECONDS
        kept = tuple(each for each in self.bins if each[0] > at - longest)[-_MOST_BINS:]
        if not kept:
            return replace(self, bins=((at, rate),))
        seen_at, load = kept[-1]
        seconds = min(at - seen_at, 2 * BIN_SECONDS)
        fades = 0.5 ** (seconds / HALF_LIFE_SECONDS)
        surely = load - _CHANCE * sqrt(load / max(1.0, window_seconds))
        decided_at = seen_at - late_seconds
        costs = []
        for cost, each in zip(self.costs, PATIENCES_SECONDS, strict=True):
            patience = max(each, shortest_seconds)
            held = _peak(kept, at - patience)
            ready = min(held, _peak(kept, decided_at - patience, decided_at))
            costs.append(fades * cost + seconds * (held + price * max(0.0, surely - ready)))
        return Patience(bins=(*kept, (at, rate)), costs=tuple(costs))

    def held(self, *, at: float, late_seconds: float, price: float) -> float:
        """Return the load that replicas are kept for, in requests per second; 0 for none but that of now."""
        burst = price * late_seconds * _peak(self.bins, -inf)
        affordable = min(self.costs) + burst
        patience = max(each for each, cost in zip(PATIENCES_SECONDS, self.costs, strict=True) if cost <= affordable)
        return _peak(self.bins, at - patience) if patience else 0.0


def _peak(bins: tuple[tuple[float, float], ...], since: float, until: float = inf) -> float:
    return max((peak for start, peak in bins if since <= start <= until), default=0.0)
