"""One ServedModel that autoscaling looks after: what the scaling loop remembers of it from tick to tick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from tfserving_operator.api.autoscaling import (
    Autoscaling,
    AutoscalingMode,
    AutoscalingStatus,
    ScalingDecision,
)
from tfserving_operator.api.conditions import ConditionType
from tfserving_operator.api.refs import ModelKey
from tfserving_operator.api.servedmodel import ServedModelSpec
from tfserving_operator.autoscaling.decision import Decision, ScalingRule
from tfserving_operator.autoscaling.load_words import load_words
from tfserving_operator.autoscaling.observation import ScalingObservation
from tfserving_operator.autoscaling.signals import PoolSignals
from tfserving_operator.autoscaling.state import ScalingState, promised_late
from tfserving_operator.clients.prometheus import SignalWish
from tfserving_operator.reconcile.capacity_news import CapacityNews
from tfserving_operator.reconcile.conditions import Verdict
from tfserving_operator.reconcile.observed import parse_status
from tfserving_operator.reconcile.ports import Children
from tfserving_operator.reconcile.scaling_board import ScalingView
from tfserving_operator.reconcile.scaling_sight import PoolsSeen, StartUpTimes, see_pools
from tfserving_operator.reconcile.scaling_verdicts import (
    DECISION_FAILED,
    LIMIT_PATIENCE,
    TELEMETRY_REASONS,
    Settling,
    limit_verdict,
    measured_at,
    patience_with,
    stands_in_status,
    telemetry_verdict,
)
from tfserving_operator.reconcile.wording import shorten

RawObject = Mapping[str, Any]

MAX_DECISIONS: Final = 20
_HOLDS: Final = frozenset({ScalingRule.NO_TELEMETRY, ScalingRule.STARTING_UP, ScalingRule.COOLDOWN})
_STILL_HOLDS: Final = _HOLDS | {ScalingRule.STABILIZATION}
"""After a hold: what it held counts as a recommendation in the stabilization window."""


class ScaledModel:
    """What is known of one ServedModel in mode Recommend or Auto. All of it may be lost at any moment."""

    def __init__(
        self, key: ModelKey, raw: RawObject, spec: ServedModelSpec, scaling: Autoscaling, *, now: datetime
    ) -> None:
        self.key = key
        self.uid: str = raw["metadata"]["uid"]
        self.spec = spec
        self.scaling = scaling
        self.auto_since = now
        """Since when this process knows that the mode is Auto (or Recommend)."""
        status = parse_status(raw.get("status", {}))
        self.state = ScalingState.restored(status.autoscaling, now=now, promised=promised_late(scaling))
        self._telemetry = Settling(_telemetry_in(stands_in_status(status.conditions, ConditionType.SCALING_ACTIVE)))
        self._limit = Settling(stands_in_status(status.conditions, ConditionType.SCALING_LIMITED))
        self._wanted = _wanted_before(status.autoscaling, scaling.mode)
        self._is_holding = False
        self._decisions: tuple[ScalingDecision, ...] = ()
        told = status.autoscaling.capacities if status.autoscaling is not None else []
        self._capacities = CapacityNews(told, self.state.capacities(), now=now)
        self._told_with: ScalingView | None = None
        self._start_ups: StartUpTimes = {}
        self._seen_with: tuple[ServedModelSpec, tuple[int, ...]] | None = None
        self.seen = PoolsSeen()
        """Its pools, as of the last look."""
        self._measured_at = measured_at(scaling)

    @property
    def is_auto(self) -> bool:
        """Whether what is decided is made."""
        return self.scaling.mode is AutoscalingMode.AUTO

    def follow(self, spec: ServedModelSpec, scaling: Autoscaling, *, now: datetime) -> None:
        """Take over a changed spec: what was shown of the old one need not last."""
        if spec is self.spec:
            return
        if scaling.mode is not self.scaling.mode:
            # What was recommended was not made, and the other way round; status keeps both.
            self._wanted, self._decisions, self.auto_since = None, (), now
        self.spec, self.scaling, self._measured_at = spec, scaling, measured_at(scaling)
        self._telemetry, self._limit = Settling(), Settling()

    def look(self, cache: Children, *, now: datetime) -> None:
        """Bring ``seen`` up to date, where anything is another one than at the last look."""
        revision = cache.revision(self.key)
        if self._seen_with is not None and self._seen_with[0] is self.spec and self._seen_with[1] == revision:
            return
        self.seen = see_pools(
            self.spec, cache.children(self.key), cache.pods(self.key), start_ups=self._start_ups, now=now
        )
        self._seen_with = (self.spec, revision)

    def wish(self) -> SignalWish:
        """Return what is asked of Prometheus."""
        return SignalWish(
            edge=self._measured_at.edge if self._measured_at else None,
            next_edge=self._measured_at.next_edge if self._measured_at else None,
            pools={pool.pool.name: pool.ready for pool in self.seen.pools},
            ready_pods=self.seen.ready_pods,
        )

    def observation(self, signals: Mapping[str, PoolSignals]) -> ScalingObservation:
        """Return the input of a decision."""
        pools = tuple(
            replace(pool, signals=signals[pool.pool.name], desired=max(pool.desired, self._asked_for(pool.pool.name)))
            for pool in self.seen.pools
        )
        return ScalingObservation(spec=self.scaling, replicas=self.spec.replicas, pools=pools)

    def _asked_for(self, pool: str) -> int:
        """Replicas that were decided and may not be written yet: to hold what runs would take them back."""
        return self._wanted.get(pool, 0) if self.is_auto and self._wanted is not None else 0

    def conclude(
        self, observation: ScalingObservation, decision: Decision, *, now: datetime
    ) -> tuple[ScalingView, ScalingDecision | None]:
        """Take in what was decided; return what reconciling is to know of it, and the change if it is one."""
        decision = self._without_taking_back(decision)
        change = self._record(observation, decision, now)
        verdict = telemetry_verdict(self.scaling, (pool.signals for pool in observation.pools))
        active = self._telemetry.take(verdict, now, patience_with(verdict))
        limited = self._limit.take(limit_verdict(decision), now, LIMIT_PATIENCE)
        return self._view(dict(decision.replicas), active, limited, now, enough=decision.enough), change

    def hold(self, verdict: Verdict, *, now: datetime) -> ScalingView:
        """Leave the replicas as they are, for the reason that ``verdict`` gives."""
        self._wanted = None
        return self._view(None, verdict, None, now)

    def fail(self, *, now: datetime) -> ScalingView:
        """Hold after a defect, and begin anew with what status keeps: what else is remembered may be its cause.

        Nothing is computed from it, as it may be what the defect is about.
        """
        self._wanted = None
        told = AutoscalingStatus(capacities=list(self._capacities.told))
        self.state = ScalingState.restored(told, now=now, promised=promised_late(self.scaling))
        self._capacities.restore(self.state.capacities())
        self._told_with = self._plain_view(None, DECISION_FAILED, None)
        return self._told_with

    def _without_taking_back(self, decision: Decision) -> Decision:
        """Holding what runs takes no recommendation back: in mode Recommend what runs does not follow it."""
        desired = {pool.pool.name: pool.desired for pool in self.seen.pools}
        rules = _STILL_HOLDS if self._is_holding else _HOLDS
        self._is_holding = decision.rule in rules and all(
            desired.get(name) == n for name, n in decision.replicas.items()
        )
        if (
            self.is_auto
            or not self._is_holding
            or self._wanted is None
            or self._wanted.keys() != decision.replicas.keys()
        ):
            return decision
        return replace(decision, replicas=self._wanted)

    def _record(self, observation: ScalingObservation, decision: Decision, now: datetime) -> ScalingDecision | None:
        """Remember the decision if it changed something: for the last ones in status, and for events."""
        desired = {pool.pool.name: pool.desired for pool in self.seen.pools}
        known = self._wanted or {}
        before = {name: known.get(name, desired.get(name, 0)) for name in decision.replicas}
        self._wanted = dict(decision.replicas)
        if before == self._wanted:
            return None
        record = ScalingDecision(
            time=now.replace(microsecond=0),
            before=replicas_text(before),
            after=replicas_text(decision.replicas),
            rule=decision.rule.value,
            message=shorten(decision.message),
            load=shorten(load_words(observation, now=now)),
        )
        self._decisions = (record, *self._decisions)[:MAX_DECISIONS]
        return record

    def _view(
        self,
        replicas: Mapping[str, int] | None,
        active: Verdict,
        limited: Verdict | None,
        now: datetime,
        *,
        enough: int | None = None,
    ) -> ScalingView:
        view = replace(self._plain_view(replicas, active, limited), enough=enough)
        is_changed = self._told_with is not None and view != self._told_with
        capacities = self._capacities.take(self.state.capacities, now=now, goes_along=is_changed)
        view = replace(view, capacities=capacities)
        self._told_with = view
        return view

    def _plain_view(self, replicas: Mapping[str, int] | None, active: Verdict, limited: Verdict | None) -> ScalingView:
        """Return the view with what was told already of what was learned."""
        return ScalingView(
            uid=self.uid,
            mode=self.scaling.mode,
            replicas=replicas,
            active=active,
            limited=limited,
            decisions=self._decisions,
            capacities=self._capacities.told,
        )


def replicas_text(replicas: Mapping[str, int]) -> str:
    """For example ``gpu 2, cpu 0``."""
    return ", ".join(f"{name} {count}" for name, count in replicas.items())


def _telemetry_in(verdict: Verdict | None) -> Verdict | None:
    is_telemetry = verdict is not None and (verdict.is_true or verdict.reason in TELEMETRY_REASONS)
    return verdict if is_telemetry else None


def _wanted_before(status: AutoscalingStatus | None, mode: AutoscalingMode) -> Mapping[str, int] | None:
    """What the operator wanted before it was started anew: a change that it did not get to tell of is told then."""
    if status is None:
        return None
    if mode is AutoscalingMode.RECOMMEND:
        pools = status.recommended
    else:
        pools = status.applied.pools if status.applied is not None else []
    return {pool.name: pool.replicas for pool in pools} or None
