"""What autoscaling remembers of one ServedModel from tick to tick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from tfserving_operator.api.autoscaling import Autoscaling, AutoscalingStatus, PoolCapacity, TargetMetric
from tfserving_operator.api.server import duration_micros
from tfserving_operator.autoscaling.behavior import BehaviorState
from tfserving_operator.autoscaling.buckets import place_between_edges
from tfserving_operator.autoscaling.history import History
from tfserving_operator.autoscaling.learning import PoolKnowledge, config_of, known_capacities
from tfserving_operator.autoscaling.load import Load
from tfserving_operator.autoscaling.observation import PoolObservation, ScalingObservation
from tfserving_operator.autoscaling.policies import PolicyState
from tfserving_operator.autoscaling.policies.latency import LatencyState
from tfserving_operator.autoscaling.pool_slots import scaled

AIM = 0.9
"""Share of the promised late requests that a replica's capacity is measured at: the rest is for surprises."""
ASSUMED_PROMISE = 0.01
_LONGEST_PAUSE_WINDOWS = 2.5
"""A scrape that was missed is no interruption."""
_CLOCK_STEP_SECONDS = 1.0
"""Clocks are corrected by less than this without a step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingState:
    """Frozen, bounded in size, and safe to lose: a new one holds what runs until it has seen enough.

    Times are seconds since the epoch.
    """

    has_seen_enough: bool = False
    """Whether a stable window of samples has been seen, so that replicas may be given up."""
    history: History = field(default_factory=History)
    behavior: BehaviorState = field(default_factory=BehaviorState)
    policy: PolicyState | None = None
    rollout_at: float | None = None
    """When a rollout was last seen."""
    waiting_since: Mapping[str, float] = field(default_factory=dict)
    """Since when replicas of a pool wait for a node."""
    first_at: float | None = None
    """Time of the first good sample since samples came without a long pause."""
    decided_at: float | None = None
    """Time of the last decision."""
    silent_since: float | None = None
    """Since when no replica answers scrapes, although they had answered before."""
    silent_ready: int = 0
    """Replicas that were ready as that began."""
    window_seconds: float = 0.0
    """Time between two scrapes, as last seen."""
    ready: int = -1
    """Ready replicas as last seen."""
    ready_changed_at: float = 0.0
    knowledge: Mapping[str, PoolKnowledge] = field(default_factory=dict)
    """What was learned of each pool."""

    @classmethod
    def initial(cls) -> ScalingState:
        """Return the state of a ServedModel that nothing is known of."""
        return cls()

    @classmethod
    def restored(
        cls, status: AutoscalingStatus | None, *, now: datetime, promised: float = ASSUMED_PROMISE
    ) -> ScalingState:
        """Return the state after a restart: it knows what replicas carry, and holds what runs at first.

        ``promised`` is the share of requests that may be late by the objective.
        """
        if status is None:
            return cls()
        return cls(
            knowledge={known.name: PoolKnowledge.restored(known, aim=AIM * promised) for known in status.capacities}
        )

    def at_clock(self, now: datetime, promised: float) -> ScalingState:
        """Return the state; that after a restart where the clock was set back: its times lie in the future."""
        clock = now.timestamp()
        if self.decided_at is not None and clock < self.decided_at - _CLOCK_STEP_SECONDS:
            told = AutoscalingStatus(capacities=self.capacities())
            return replace(ScalingState.restored(told, now=now, promised=promised), decided_at=clock)
        return replace(self, decided_at=clock)

    def after(self, observation: ScalingObservation, load: Load, *, now: float) -> ScalingState:
        """Return the state after a look at the pools and their load."""
        metric = policy_metric(observation.spec, load)
        history = self.history
        first_at = self.first_at
        has_seen_enough = self.has_seen_enough
        if load.may_scale_down and metric is not None:
            if self._was_interrupted(load, observation.spec.stable_window_seconds):
                first_at, has_seen_enough = None, False
            history = history.with_sample(metric, at=load.at, keep_seconds=observation.spec.stable_window_seconds)
            first_at = load.at if first_at is None else first_at
        desired = sum(pool.desired for pool in observation.pools)
        lost = load.ready < self.ready and load.ready < desired
        is_rolling_out = lost or any(pool.is_rolling_out for pool in observation.pools)
        total = sum(pool.desired for pool in scaled(observation.pools))
        seen = first_at is not None and history.newest_at - first_at >= observation.spec.stable_window_seconds
        silent_since = self._silent_since(load, now)
        # The first scrape after some that failed says nothing of the interval.
        is_window_news = load.covered > 0 and not (load.is_window_assumed and self.window_seconds > 0)
        return replace(
            self,
            history=history,
            first_at=first_at,
            has_seen_enough=has_seen_enough or seen,
            behavior=self.behavior.with_total(total, now=now),
            rollout_at=now if is_rolling_out else self.rollout_at,
            waiting_since=_waiting_since(self.waiting_since, observation, now),
            knowledge=_learned(self, observation, now),
            silent_since=silent_since,
            silent_ready=load.ready if self.silent_since is None else self.silent_ready,
            window_seconds=load.window_seconds if is_window_news else self.window_seconds,
            ready=load.ready,
            ready_changed_at=now if load.ready != self.ready else self.ready_changed_at,
        )

    def _was_interrupted(self, load: Load, stable_window_seconds: float) -> bool:
        """Whether no good sample came for so long that the next ones have to fill a stable window of their own."""
        if not self.history.bins:
            return False
        longest_seconds = max(stable_window_seconds / 2, _LONGEST_PAUSE_WINDOWS * load.window_seconds)
        return load.at - self.history.newest_at > longest_seconds

    def _silent_since(self, load: Load, now: float) -> float | None:
        have_answered = load.silent_per_second > 0 or self.window_seconds > 0
        if not load.is_silent or not have_answered:
            return None
        return now if self.silent_since is None else self.silent_since

    def silence_of(self, load: Load, *, now: float) -> Load:
        """Return the load with how long it has been silent, in scrape intervals as last seen."""
        if self.silent_since is None:
            return load
        window = self.window_seconds or load.window_seconds
        return replace(load, silent_seconds=now - self.silent_since, window_seconds=window)

    def aim(self, promised: float) -> float:
        """Return the share of late requests that replicas are sized for, where ``promised`` may be late."""
        if isinstance(self.policy, LatencyState) and self.policy.aim is not None:
            return self.policy.aim
        return AIM * promised

    def capacities(self) -> list[PoolCapacity]:
        """Return what was learned of each pool, for status."""
        return known_capacities(self.knowledge)


def policy_metric(spec: Autoscaling, load: Load) -> float | None:
    """Return what the policy looks at: requests per second, or requests in flight where the target says so.

    None where these are not known.
    """
    if spec.target is not None and spec.target.metric is TargetMetric.CONCURRENCY:
        return load.concurrency
    return load.requests_per_second


def promised_late(spec: Autoscaling) -> float:
    """Return the share of requests that may be late by the objective."""
    return ASSUMED_PROMISE if spec.objective is None else 1 - spec.objective.percent / 100


def place_of_objective(spec: Autoscaling) -> float:
    """Return where the objective lies between the bucket edge below it (0) and the one above it (1)."""
    return 0.0 if spec.objective is None else place_between_edges(duration_micros(spec.objective.latency))


def _learned(state: ScalingState, observation: ScalingObservation, now: float) -> Mapping[str, PoolKnowledge]:
    before = state.knowledge
    promised = promised_late(observation.spec)
    place = place_of_objective(observation.spec)
    nothing = PoolKnowledge()
    return {
        pool.pool.name: before.get(pool.pool.name, nothing).after(
            _measured_against(pool, observation.spec),
            aim=AIM * promised,
            sized_for=state.aim(promised),
            promised=promised,
            now=now,
            place=place,
        )
        for pool in observation.pools
    }


def _measured_against(pool: PoolObservation, spec: Autoscaling) -> PoolObservation:
    """Return the pool with a config that names the latency too: with another one a replica carries something else."""
    latency = None if spec.objective is None else spec.objective.latency
    return replace(pool, config_hash=config_of(pool.config_hash, latency))


def _waiting_since(before: Mapping[str, float], observation: ScalingObservation, now: float) -> Mapping[str, float]:
    waiting = [pool.pool.name for pool in observation.pools if pool.waiting > 0]
    if not waiting and not before:
        return before
    return {name: before.get(name, now) for name in waiting}
