"""Which samples say what a replica carries: those of a pool whose replicas were steady over the whole window."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tfserving_operator.api.autoscaling import EarlierCapacity, PoolCapacity
from tfserving_operator.autoscaling.capacity import CapacityCurve, CapacityEstimate, LoadSample
from tfserving_operator.autoscaling.load import is_number
from tfserving_operator.autoscaling.observation import PoolObservation
from tfserving_operator.autoscaling.outcomes import outcomes
from tfserving_operator.autoscaling.signals import PoolSignals, SignalState

_STEADY_WITHIN = 0.05
"""Share of the replicas that may come or go within a window: large pools never stand quite still."""
_BACKLOG_WINDOWS = 3
"""For so many windows after a load, late requests may be its backlog."""
_DRAINING_SHARE = 0.25
_DRAINING_WINDOWS = 40
"""While more than that share is late without a pause, it may be for as long as the overload took, and for at most so
many windows: replicas that were overloaded for minutes have a long queue, and new ones beside them do not shorten it.
"""
_MOST_EARLIER = 3
_KEPT_OF_AN_OLD_CONFIG = 0.1
"""Confidence in what was measured with other models, batching or resources."""
_HOPELESS_WINDOWS = 4
"""For so long it must look as if replicas could not help until that is believed: replicas are given up for it."""
SURELY_CARRIED_IN_FLIGHT = 0.08
"""A replica with so few requests in flight on average has an idle server for nearly each that comes: whatever is late
then, more replicas cannot prevent. At a few requests a minute this is known long before a curve is."""
SAME_LOAD = 1.2
"""A load up to this much above another is about the same."""
JUMP_SHARE = 0.3
"""Change of a replica's load from one window to the next beyond which nothing is learned, on top of chance."""
_CHANCE = 3.0
"""Standard deviations of counting."""
_OTHER_WINDOW = 2 / 3
"""Share of a window after which a sample says something else than the one before."""
_SAYS_THE_LOAD = (SignalState.MEASURED, SignalState.NO_TRAFFIC)
_SEEN_WELL_SECONDS = 30.0
"""Steady traffic after a change of the config until what a replica carries counts as seen."""


@dataclass(frozen=True, slots=True)
class WindowLoad:
    """What a replica had to do over one window, in requests per second: a range where replicas came or went in it."""

    at: float
    """Epoch seconds of its end."""
    least: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolKnowledge:
    """What is known of one pool. Times are epoch seconds."""

    curve: CapacityCurve = field(default_factory=CapacityCurve)
    estimate: CapacityEstimate | None = None
    config_hash: str = ""
    earlier: tuple[EarlierCapacity, ...] = ()
    """What was known with other configs, the newest first."""
    is_of_old_config: bool = False
    """Whether what is known was measured with another config and not seen with this one yet."""
    seen_seconds: float = 0.0
    """Steady traffic that was learned from with this config."""
    looked_at: float = 0.0
    """Time of the newest sample."""
    learned_at: float = 0.0
    """Time of the newest one that was learned from."""
    start_up_seconds: float | None = None
    ready_log: tuple[tuple[float, int], ...] = ()
    """When the number of ready replicas changed, and to what."""
    loads: tuple[WindowLoad, ...] = ()
    """Of the last windows, by time."""
    late_since: float | None = None
    """Since when a large share of the requests is late; None while it is not."""
    hopeless_since: float | None = None
    """Since when every sample says that the objective cannot be kept."""
    before_late: tuple[CapacityCurve, CapacityEstimate | None] | None = None
    """What was known before the newest sample that was learned from, if many of its requests were late."""

    @classmethod
    def restored(cls, known: PoolCapacity, *, aim: float) -> PoolKnowledge:
        """Return what status says was known."""
        curve = CapacityCurve.seeded(known.requests_per_second, confidence=known.confidence, aim=aim)
        return cls(
            curve=curve,
            estimate=curve.estimate(aim=aim, promised=2 * aim),
            config_hash=known.config_hash or "",
            earlier=tuple(known.earlier),
            start_up_seconds=known.start_up_seconds,
        )

    def after(
        self,
        pool: PoolObservation,
        *,
        aim: float,
        promised: float,
        now: float,
        sized_for: float | None = None,
        place: float = 0.0,
    ) -> PoolKnowledge:
        """Return what is known after a look at the pool. ``aim`` and ``promised`` are shares of late requests.

        ``place`` says where the objective lies between two bucket edges, 0 at the one below.
        """
        knowledge = self._of_config(pool.config_hash, aim)
        ready_log = _noted(knowledge.ready_log, pool.ready, now)
        if ready_log is not knowledge.ready_log or pool.start_up_seconds not in (None, knowledge.start_up_seconds):
            start_up = knowledge.start_up_seconds if pool.start_up_seconds is None else pool.start_up_seconds
            knowledge = replace(knowledge, ready_log=ready_log, start_up_seconds=start_up)
        signals = pool.signals
        if signals.state not in _SAYS_THE_LOAD or signals.at is None or not is_number(signals):
            return knowledge
        at = signals.at.timestamp()
        window = signals.window_seconds
        if window <= 0 or at - knowledge.looked_at < window / 4 or pool.ready <= 0:
            return knowledge
        fewest, most = _ready_since(ready_log, at - window)
        load = WindowLoad(at, signals.requests_per_second / max(1, most), signals.requests_per_second / max(1, fewest))
        late_since = knowledge._late_since(signals, at, place)
        backlog_seconds = _BACKLOG_WINDOWS * window
        if late_since is not None:
            backlog_seconds = min((at - late_since + backlog_seconds) / 2, _DRAINING_WINDOWS * window)
        loads = (*(each for each in knowledge.loads if each.at > at - backlog_seconds), load)
        knowledge = replace(knowledge, loads=loads, looked_at=at, late_since=late_since)
        is_steady = ready_log[0][0] <= at - window and most - fewest <= _STEADY_WITHIN * most
        is_news = signals.state is SignalState.MEASURED and at - knowledge.learned_at >= window / 2
        if not is_steady or pool.is_rolling_out or not is_news:
            return knowledge
        # A window that tells little is better than none.
        if knowledge.curve.bins and _jumps(loads, window_seconds=window, replicas=max(1, fewest)):
            return knowledge._without_begin_of_burst(window)
        return knowledge._learned(
            signals, at, (fewest + most) / 2, aim=aim, sized_for=sized_for or aim, promised=promised, place=place
        )

    def _late_since(self, signals: PoolSignals, at: float, place: float) -> float | None:
        outcome = outcomes(signals, place=place)
        if outcome.late_below <= _DRAINING_SHARE * outcome.requests:
            return None
        return at - _BACKLOG_WINDOWS * signals.window_seconds if self.late_since is None else self.late_since

    def _without_begin_of_burst(self, window_seconds: float) -> PoolKnowledge:
        """Return what is known where the load of the newest window jumped.

        Where it rose, the window before may have ended in the burst's first moments: a few late requests at a mean load
        that is hardly higher than usual. Nothing would ever refute that so small a load is too much.
        """
        newest = self.loads[-1]
        rises = len(self.loads) > 1 and newest.most > self.loads[-2].most
        if self.before_late is None or not rises or newest.at - self.learned_at >= 1.5 * window_seconds:
            return self
        curve, estimate = self.before_late
        return replace(self, curve=curve, estimate=estimate, before_late=None)

    def capacity(self, name: str) -> PoolCapacity | None:
        """Return what status keeps; None where nothing is known."""
        if self.estimate is None and self.start_up_seconds is None:
            return None
        confidence = 0.0 if self.estimate is None else self.estimate.confidence
        return PoolCapacity(
            name=name,
            requests_per_second=0.0 if self.estimate is None else min(1e9, self.estimate.carries),
            confidence=min(1.0, confidence * (_KEPT_OF_AN_OLD_CONFIG if self.is_of_old_config else 1.0)),
            start_up_seconds=self.start_up_seconds,
            config_hash=self.config_hash or None,
            earlier=list(self.earlier),
        )

    def _of_config(self, config_hash: str, aim: float) -> PoolKnowledge:
        if config_hash == self.config_hash:
            return self
        if not self.config_hash or self.estimate is None:
            return replace(self, config_hash=config_hash)
        back = next((each for each in self.earlier if each.config_hash == config_hash), None)
        left = [] if self.is_of_old_config else [_noted_capacity(self.config_hash, self.estimate)]
        others = [each for each in self.earlier if each is not back and each.config_hash != self.config_hash]
        # On the way back to a config it is known what a replica carries; with a new one, only with the last.
        carries = self.estimate.carries if back is None else back.requests_per_second
        confidence = _KEPT_OF_AN_OLD_CONFIG if back is None else max(_KEPT_OF_AN_OLD_CONFIG, back.confidence)
        curve = CapacityCurve.seeded(carries, confidence=confidence, aim=aim)
        estimate = self.estimate if back is None else curve.estimate(aim=aim, promised=2 * aim)
        if back is None and _latency_of(config_hash) != _latency_of(self.config_hash):
            # Nothing can be said: half the latency may be missed by each request.
            curve, estimate = CapacityCurve(), None
        return replace(
            self,
            curve=curve,
            estimate=estimate,
            config_hash=config_hash,
            earlier=(*left, *others)[:_MOST_EARLIER],
            is_of_old_config=back is None,
            seen_seconds=0.0,
            before_late=None,
            hopeless_since=None,
            late_since=None,
        )

    def _learned(
        self,
        signals: PoolSignals,
        at: float,
        ready: float,
        *,
        aim: float,
        sized_for: float,
        promised: float,
        place: float,
    ) -> PoolKnowledge:
        window = signals.window_seconds
        new_seconds = min(window, at - self.learned_at)
        outcome = outcomes(signals, place=place)
        own_load = load = signals.requests_per_second / ready
        curve = replace(self.curve, place=place)
        counts = (outcome.late_below * window, outcome.late_above * window, outcome.requests * window)
        if curve.late_of(*counts) > 2 * aim * counts[2]:
            # A backlog is late although the load has gone down already: it is the higher load's.
            load = max(each.least for each in self.loads)
        sample = LoadSample(
            load=load,
            requests=outcome.requests * new_seconds,
            late_share=_share(outcome.late_below, outcome.requests),
            late_above_share=_share(outcome.late_above, outcome.requests),
            failed_share=_share(outcome.failed, outcome.requests),
            seconds=new_seconds,
            mean_seconds=_mean_seconds(signals) if load <= SAME_LOAD * own_load else 0.0,
        )
        before = (self.curve, self.estimate) if self.curve.bins and sample.late_share > 2 * aim else None
        seen_seconds = self.seen_seconds + new_seconds
        known = replace(
            self,
            curve=curve.learned(sample, aim=aim),
            learned_at=at,
            before_late=before,
            seen_seconds=seen_seconds,
            is_of_old_config=self.is_of_old_config and seen_seconds < _SEEN_WELL_SECONDS,
        )
        return known._estimated(signals, at, sized_for=sized_for, promised=promised)

    def _estimated(self, signals: PoolSignals, at: float, *, sized_for: float, promised: float) -> PoolKnowledge:
        """Return what the curve says; that replicas cannot help it must have said for a while."""
        estimate, since = self.curve.estimate(aim=sized_for, promised=promised), None
        if estimate is not None and estimate.cannot_be_kept:
            since = at if self.hopeless_since is None else self.hopeless_since
            if at - since < _HOPELESS_WINDOWS * signals.window_seconds:
                estimate = self.curve.estimate(aim=sized_for, promised=promised, may_be_hopeless=False)
        return replace(self, estimate=_at_least(estimate, _surely_carried(signals)), hopeless_since=since)


def config_of(template_hash: str, latency: str | None) -> str:
    """Name what a replica's capacity is measured with: its pod template, and the latency that it is to keep."""
    return f"{template_hash}@{latency}" if template_hash and latency else template_hash


def _latency_of(config_hash: str) -> str:
    return config_hash.partition("@")[2]


def _jumps(loads: tuple[WindowLoad, ...], *, window_seconds: float, replicas: int) -> bool:
    """Whether the newest of ``loads`` is so far from the window before that its mean hides what the load was.

    In a window in which a burst begins or ends, requests are late at a load that was twice the mean.
    """
    newest = loads[-1]
    before = next((each for each in reversed(loads) if newest.at - each.at >= _OTHER_WINDOW * window_seconds), None)
    if before is None:
        return False
    low, high = sorted((before.most, newest.most))
    chance = _CHANCE * math.sqrt(high / (replicas * window_seconds))
    return high - low > JUMP_SHARE * high + chance


def _mean_seconds(signals: PoolSignals) -> float:
    """What a request takes, by Little's law; 0 where that is not known."""
    return _share(signals.concurrency or 0.0, signals.requests_per_second)


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


def _surely_carried(signals: PoolSignals) -> float:
    """Requests per second at which a replica is next to idle, by Little's law; 0 where that is not known."""
    if not signals.concurrency or signals.concurrency <= 0:
        return 0.0
    return SURELY_CARRIED_IN_FLIGHT * signals.requests_per_second / signals.concurrency


def _at_least(estimate: CapacityEstimate | None, carried: float) -> CapacityEstimate | None:
    if estimate is None or estimate.cannot_be_kept or carried <= estimate.carries:
        return estimate
    return replace(estimate, carries=carried, hopeful=max(carried, estimate.hopeful))


def _noted_capacity(config_hash: str, estimate: CapacityEstimate) -> EarlierCapacity:
    return EarlierCapacity(
        config_hash=config_hash,
        requests_per_second=min(1e9, float(f"{estimate.carries:.3g}")),
        confidence=round(estimate.confidence, 2),
    )


def _noted(log: tuple[tuple[float, int], ...], ready: int, now: float) -> tuple[tuple[float, int], ...]:
    if log and log[-1][1] == ready:
        return log
    return (*log[-63:], (now, ready))


def _ready_since(log: tuple[tuple[float, int], ...], since: float) -> tuple[int, int]:
    """The fewest and the most replicas that were ready from then until now."""
    fewest = most = log[-1][1]
    for at, ready in reversed(log):
        fewest, most = min(fewest, ready), max(most, ready)
        if at <= since:
            break
    return fewest, most


def known_capacities(pools: Mapping[str, PoolKnowledge]) -> list[PoolCapacity]:
    """Return what status keeps of all pools."""
    return [capacity for name, known in pools.items() if (capacity := known.capacity(name)) is not None]
