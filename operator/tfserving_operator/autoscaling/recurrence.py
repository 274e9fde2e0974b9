"""Bursts that come back at the same minute of the hour: clients with the same crontab.

A forecast that only looks back a few minutes misses each of them anew. So it is remembered, minute by minute over a
day, by how much the load exceeded what was provided for without this memory. Hours in which nothing was missed at
that minute count against those in which something was (the newsvendor's problem; Arrow, Harris and Marschak, Optimal
inventory policy, Econometrica 1951). A slow swing over the day is never missed, so it leaves nothing here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import floor, sqrt
from struct import pack

MINUTE_SECONDS = 60.0
PERIOD_MINUTES = 60
"""Quarters and halves of an hour are in it."""
PERIODS = 24
AHEAD_SECONDS = 30.0
BEHIND_SECONDS = 60.0
"""Bursts are early and late by so much; a miss is noted at the beginning of its window, which is already early."""
PRIOR_HOURS = 3.0
"""Before it was seen often, a minute is taken to have been calm in so many hours."""
HALF_LIFE_HOURS = 8.0
LONGEST_LEAD_SECONDS = 1800.0
"""Beyond it, what is ahead and what was just seen would be the same minutes of the hour."""
DECIDED_BIN_SECONDS = 15.0
_CHANCE = 2.0
"""Standard deviations of counting by which a load must exceed what is there to be missed, as in patience."""
_MINUTES = PERIOD_MINUTES * PERIODS
_UNSEEN = -1.0
_WEIGHTS = tuple(0.5 ** (period / HALF_LIFE_HOURS) for period in range(PERIODS))


@dataclass(frozen=True, slots=True)
class Recurrence:
    """What was missed in which minute of the last day. Rates are requests per second, times epoch seconds."""

    missed: bytes = pack("f", _UNSEEN) * _MINUTES
    """A ring of single precision numbers, as a tuple of a day would be ten times larger; -1 where nothing was seen."""
    newest: int = 0
    """Minute since the epoch of the newest entry; 0 before the first."""
    decided: tuple[tuple[float, float], ...] = ()
    """Start, and the highest load provided for without this memory; the newest last."""
    at: float = 0.0
    recalled: tuple[tuple[float, float], ...] = ()
    """What was missed around the coming minute of past hours, the largest first, and its weight; () for nothing."""
    calm: float = 0.0
    """Weight of all these hours and of those that are assumed."""
    recalled_minutes: tuple[int, int] = (0, 0)

    def after(
        self, rate: float, provided: float, *, at: float, window_seconds: float, lead_seconds: float
    ) -> Recurrence:
        """Return the memory after a sample; one that is not newer than the newest changes nothing.

        ``provided`` is the load that is provided for without this memory, ``lead_seconds`` how long it takes from a
        burst's beginning until replicas for it are ready.
        """
        if at <= self.at:
            return self
        lead = min(lead_seconds, LONGEST_LEAD_SECONDS)
        known = replace(self, at=at, decided=self._decided_after(provided, at, lead))
        earliest = at - 2 * lead - DECIDED_BIN_SECONDS
        ready = max((load for since, load in self.decided if earliest <= since <= at - lead), default=None)
        if ready is None:
            return known
        surely = rate - _CHANCE * sqrt(rate / max(1.0, window_seconds))
        return known._noted(floor((at - window_seconds) / MINUTE_SECONDS), max(0.0, surely - ready))

    def recalling(self, *, now: float, lead_seconds: float) -> Recurrence:
        """Return the memory with what was missed in past hours between now and when a replica has started."""
        lead = min(lead_seconds, LONGEST_LEAD_SECONDS)
        first = floor((now - BEHIND_SECONDS) / MINUTE_SECONDS)
        last = floor((now + lead + AHEAD_SECONDS) / MINUTE_SECONDS)
        if (first, last) == self.recalled_minutes:
            return self
        seen = [(self._most_missed(first, last, period), _WEIGHTS[period]) for period in range(1, PERIODS)]
        sizes = sorted((each for each in seen if each[0] > 0), reverse=True)
        calm = PRIOR_HOURS + sum(weight for size, weight in seen if size >= 0)
        return replace(self, recalled=tuple(sizes), calm=calm, recalled_minutes=(first, last))

    def expected(self, *, lead_seconds: float, price: float) -> float:
        """Return the load that is worth providing for by what was recalled; 0 for none.

        ``price`` is what a late request is worth in requests that might have been served.
        """
        if not self.recalled:
            return 0.0
        lead = min(lead_seconds, LONGEST_LEAD_SECONDS)
        held = lead + AHEAD_SECONDS + BEHIND_SECONDS + MINUTE_SECONDS
        early = AHEAD_SECONDS + MINUTE_SECONDS / 2
        # Where the burst comes only the early part is spent on top, as its replicas would be needed soon after.
        remaining = held / (price * lead + held - early) * self.calm
        for size, weight in self.recalled:
            remaining -= weight
            if remaining <= 0:
                return min(load for _, load in self.decided) + size
        return 0.0

    def _decided_after(self, provided: float, at: float, lead: float) -> tuple[tuple[float, float], ...]:
        if self.decided and at < self.decided[-1][0] + DECIDED_BIN_SECONDS:
            since, load = self.decided[-1]
            return self.decided if provided <= load else (*self.decided[:-1], (since, provided))
        # Long enough to reach back to before a burst that is under way.
        oldest = at - 2 * (lead + MINUTE_SECONDS)
        return (*(each for each in self.decided if each[0] > oldest), (at, provided))

    def _noted(self, minute: int, missed: float) -> Recurrence:
        if minute < self.newest or (minute == self.newest and missed <= self._at(minute)):
            return self
        ring = bytearray(self.missed)
        numbers = memoryview(ring).cast("f")
        for gap in range(max(self.newest + 1, minute - _MINUTES + 1), minute):
            numbers[gap % _MINUTES] = _UNSEEN
        numbers[minute % _MINUTES] = min(missed, 1e30)
        return replace(self, missed=bytes(ring), newest=minute)

    def _at(self, minute: int) -> float:
        number: float = memoryview(self.missed).cast("f")[minute % _MINUTES]
        return number

    def _most_missed(self, first: int, last: int, period: int) -> float:
        """The most that was missed so many hours before those minutes; -1 where nothing was seen."""
        low = max(first - period * PERIOD_MINUTES, self.newest - _MINUTES + 1)
        high = min(last - period * PERIOD_MINUTES, self.newest)
        numbers = memoryview(self.missed).cast("f")
        return max((numbers[minute % _MINUTES] for minute in range(low, high + 1)), default=_UNSEEN)
