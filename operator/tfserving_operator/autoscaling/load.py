"""The load of a whole ServedModel: the signals of its pools as one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tfserving_operator.autoscaling.observation import PoolObservation
from tfserving_operator.autoscaling.outcomes import outcomes
from tfserving_operator.autoscaling.signals import PoolSignals, SignalState

_BEST_FIRST = (
    SignalState.MEASURED,
    SignalState.NO_TRAFFIC,
    SignalState.NO_REPLICAS,
    SignalState.NOT_YET_REPORTED,
    SignalState.REPLICAS_MISSING,
    SignalState.PARTIAL_ANSWER,
    SignalState.STALE,
    SignalState.NOT_A_NUMBER,
    SignalState.PROMETHEUS_SLOW,
    SignalState.PROMETHEUS_UNAVAILABLE,
    SignalState.PROMETHEUS_REJECTED,
    SignalState.NOT_CONFIGURED,
)
_RANK = {state: rank for rank, state in enumerate(_BEST_FIRST)}

LATE_SHARE = 0.05
"""Above this share of late requests a queue is taken to build up; bursts make fewer late."""

SILENT_SCRAPES = 2.0
"""So many scrape intervals without an answer of any replica are no hiccup."""

_SHOWS_A_LOWER_BOUND = frozenset(
    {SignalState.MEASURED, SignalState.NOT_YET_REPORTED, SignalState.REPLICAS_MISSING, SignalState.PARTIAL_ANSWER}
)
"""States whose numbers are recent and can only be too low: good enough to add replicas, never to take any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What all pools together carry. Times are seconds since the epoch."""

    state: SignalState
    """The worst among the pools with ready replicas."""
    message: str
    at: float
    """Time of the oldest sample that went in; the time of the decision where none did."""
    window_seconds: float
    is_window_assumed: bool
    """Whether the window is a guess: no replica was seen at two scrapes in a row."""
    requests_per_second: float
    answerable_per_second: float
    """Without failures that no replica could prevent."""
    late_per_second: float
    """Of those, beyond the objective or refused."""
    late_below_per_second: float
    """Of those, beyond the bucket edge below the objective or refused."""
    late_above_per_second: float
    """Of those, beyond the bucket edge above the objective or refused."""
    failed_per_second: float
    """Of those, refused or given up."""
    concurrency: float | None
    """None where a pool with requests does not know it."""
    ready: int
    """Ready replicas of all pools; fixed ones carry load too."""
    covered: int
    silent: int = 0
    """Ready replicas whose newest scrape failed."""
    silent_per_second: float = 0.0
    """Requests of ready replicas whose newest scrape failed, in their last two samples; not among the others."""
    silent_late_per_second: float = 0.0
    """Of those, beyond the bucket edge below the objective."""
    silent_seconds: float = 0.0
    """For how long no replica that is to take requests has answered a scrape, although they had answered before."""

    @property
    def may_scale_down(self) -> bool:
        """Whether the numbers are good enough to give up replicas."""
        return self.state.may_scale_down

    @property
    def may_scale_up(self) -> bool:
        """Whether what is seen is recent and at most too low, so that it may ask for more replicas."""
        return (self.covered > 0 or self.silent > 0) and self.state in _SHOWS_A_LOWER_BOUND

    @property
    def is_silent(self) -> bool:
        """Whether replicas fail their scrapes, and none is left that answers."""
        return self.covered == 0 and self.silent > 0

    @property
    def is_silence_lasting(self) -> bool:
        """Whether no replica has answered for some scrapes, which is no hiccup any more."""
        return self.silent_seconds > 0 and self.silent_seconds >= SILENT_SCRAPES * self.window_seconds

    @property
    def too_busy_share(self) -> float:
        """Share of the requests that replicas had which seem to be too busy for scrapes.

        Those that were late already, and all where no replica has answered for some scrapes: even where there were
        none, as a burst that blocks an idle replica between two scrapes never shows in a sample.
        """
        is_late = self.silent_late_per_second > LATE_SHARE * self.silent_per_second
        if not is_late and not self.is_silence_lasting:
            return 0.0
        if self.silent_per_second <= 0:
            return 1.0
        return self.silent_per_second / (self.answerable_per_second + self.silent_per_second)


def combined_load(pools: Sequence[PoolObservation], *, now: float, place: float = 0.0) -> Load:
    """Return the load over all ``pools``, in the state of the worst pool that has ready replicas.

    ``place`` says where the objective lies between two bucket edges, 0 at the one below.
    """
    serving = [pool for pool in pools if pool.ready > 0]
    worst = max((_named(pool) for pool in serving), key=lambda named: _RANK[named[0]], default=None)
    if worst is None:
        return _nothing_ready(pools, now)
    state, message = worst
    if state is SignalState.NO_TRAFFIC and any(pool.signals.state is SignalState.MEASURED for pool in serving):
        state, message = SignalState.MEASURED, ""
    signals = [pool.signals for pool in pools if pool.ready > 0 or is_number(pool.signals)]
    times = [pool.signals.at.timestamp() for pool in serving if pool.signals.at is not None]
    usable = state is not SignalState.NOT_A_NUMBER
    fared = [outcomes(each, place=place) for each in signals] if usable else []
    return Load(
        state=state,
        message=message,
        at=min([*times, now]),
        window_seconds=max(each.window_seconds for each in signals) if usable else 0.0,
        is_window_assumed=all(each.is_window_assumed for each in signals),
        requests_per_second=sum(each.requests_per_second for each in signals) if usable else 0.0,
        answerable_per_second=sum(each.requests for each in fared),
        late_per_second=sum(each.late for each in fared),
        late_below_per_second=sum(each.late_below for each in fared),
        late_above_per_second=sum(each.late_above for each in fared),
        failed_per_second=sum(each.failed for each in fared),
        concurrency=_concurrency(signals) if usable else None,
        ready=sum(pool.ready for pool in serving),
        covered=sum(min(pool.ready, pool.signals.replicas_covered) for pool in serving),
        silent=sum(min(pool.ready, pool.signals.replicas_silent) for pool in serving) if usable else 0,
        silent_per_second=sum(each.silent_per_second for each in signals) if usable else 0.0,
        silent_late_per_second=sum(_silent_late(each) for each in signals) if usable else 0.0,
    )


def _silent_late(signals: PoolSignals) -> float:
    return max(0.0, signals.silent_per_second - signals.silent_good_per_second)


def is_number(signals: PoolSignals) -> bool:
    """Whether every number is one: neither NaN nor infinite nor below zero."""
    numbers = (
        signals.requests_per_second,
        signals.good_per_second,
        signals.good_above_per_second or 0.0,
        signals.silent_per_second,
        signals.silent_good_per_second,
        signals.window_seconds,
        signals.concurrency or 0.0,
        signals.queue_seconds or 0.0,
        signals.batch_size or 0.0,
    )
    return all(math.isfinite(number) and number >= 0 for number in numbers)


def _named(pool: PoolObservation) -> tuple[SignalState, str]:
    """The state of one pool, and what is wrong with it in words."""
    signals = pool.signals
    if not is_number(signals):
        return SignalState.NOT_A_NUMBER, f"pool {pool.pool.name}: a number of its load is NaN, infinite or negative"
    if signals.state in (SignalState.MEASURED, SignalState.NO_TRAFFIC):
        return signals.state, ""
    words = signals.message or signals.state.meaning
    return signals.state, f"pool {pool.pool.name}: {words}"


def _nothing_ready(pools: Sequence[PoolObservation], now: float) -> Load:
    wanted = sum(pool.desired for pool in pools)
    return Load(
        state=SignalState.NO_REPLICAS,
        message=f"none of {wanted} replicas is ready",
        at=now,
        window_seconds=0.0,
        is_window_assumed=True,
        requests_per_second=0.0,
        answerable_per_second=0.0,
        late_per_second=0.0,
        late_below_per_second=0.0,
        late_above_per_second=0.0,
        failed_per_second=0.0,
        concurrency=None,
        ready=0,
        covered=0,
    )


def _concurrency(signals: Sequence[PoolSignals]) -> float | None:
    total = 0.0
    for each in signals:
        if each.concurrency is not None:
            total += each.concurrency
        elif each.requests_per_second > 0:
            return None
    return total
