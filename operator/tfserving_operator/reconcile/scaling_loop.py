"""The scaling loop: every two seconds one look at the whole fleet's load, and a decision on each ServedModel.

It writes nothing. What it decides goes on the board, and the keys of ServedModels for which that is news go into the
queue; the normal reconcile then applies the Deployments.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from tfserving_operator import telemetry
from tfserving_operator.api.autoscaling import AutoscalingMode, ScalingDecision
from tfserving_operator.api.refs import ModelKey
from tfserving_operator.api.servedmodel import ServedModelSpec
from tfserving_operator.autoscaling.budget import FleetBudget, PoolWish
from tfserving_operator.autoscaling.decide import decide_replicas
from tfserving_operator.autoscaling.decision import Decision
from tfserving_operator.autoscaling.fleet import uses, within_budget
from tfserving_operator.autoscaling.observation import ScalingObservation
from tfserving_operator.autoscaling.signals import PoolSignals
from tfserving_operator.autoscaling.state import ScalingState
from tfserving_operator.clients.prometheus import SignalWish
from tfserving_operator.reconcile.budget_use import budget_use
from tfserving_operator.reconcile.fixed_grid import ticks
from tfserving_operator.reconcile.observed import InvalidServedModel, parse_served_model
from tfserving_operator.reconcile.ports import Children, ExternalAutoscalers, FleetSignals
from tfserving_operator.reconcile.scaled_model import ScaledModel
from tfserving_operator.reconcile.scaling_board import ScalingBoard, ScalingView
from tfserving_operator.reconcile.scaling_metrics import count_models
from tfserving_operator.reconcile.scaling_verdicts import DECISION_FAILED, PAUSED, external_autoscaler
from tfserving_operator.reconcile.wanted_replicas import scaling_mode
from tfserving_operator.resources.names import deployment_name

log = logging.getLogger(__name__)

_DECISIONS_AT_A_STRETCH: Final = 25
"""Some milliseconds; then whatever else is due in the process has its turn."""

RawObject = Mapping[str, Any]
Signals = Mapping[tuple[ModelKey, str], PoolSignals]


class Decide(Protocol):
    """The pure side of autoscaling."""

    def __call__(
        self, observation: ScalingObservation, state: ScalingState, *, now: datetime
    ) -> tuple[Decision, ScalingState]:
        """Return the decision, and the state for the next one."""


@dataclass(frozen=True)
class _Spec:
    """The spec of a ServedModel, read once for each generation; None where it cannot be read."""

    uid: str
    generation: int
    spec: ServedModelSpec | None


@dataclass(frozen=True)
class _Seen:
    """What runs of a ServedModel without autoscaling, and when that was read."""

    revision: tuple[int, ...]
    uses: tuple[PoolWish, ...]


@dataclass(frozen=True)
class _Decided:
    model: ScaledModel
    observation: ScalingObservation
    decision: Decision


class ScalingLoop:
    """Looks after every ServedModel in mode Recommend or Auto. All of what it remembers may be lost at any moment."""

    def __init__(
        self,
        *,
        models: Callable[[], Iterable[tuple[ModelKey, RawObject]]],
        cache: Children,
        signals: FleetSignals,
        autoscalers: ExternalAutoscalers,
        board: ScalingBoard,
        news: Callable[[ModelKey], None],
        clock: Callable[[], datetime],
        budget: FleetBudget | None = None,
        decide: Decide = decide_replicas,
    ) -> None:
        self._models = models
        self._cache = cache
        self._signals = signals
        self._autoscalers = autoscalers
        self._board = board
        self._news = news
        self._clock = clock
        self._budget = budget or FleetBudget()
        self._decide = decide
        self._specs: dict[ModelKey, _Spec] = {}
        self._scaled: dict[ModelKey, ScaledModel] = {}
        self._unscaled: dict[ModelKey, _Seen] = {}
        self._failed: set[ModelKey] = set()
        """Those that this tick failed on, and so does nothing more about."""
        self._failed_before: set[ModelKey] = set()

    async def run(self, period_seconds: float) -> None:
        """Tick until cancelled. A fault in a tick is logged and counted; replicas stay as they were decided last."""
        async for _ in ticks(period_seconds):
            with telemetry.SCALING_TICK_SECONDS.time():
                try:
                    await self.tick()
                except Exception:
                    log.exception("a tick of autoscaling failed, replicas are held")
                    telemetry.SCALING_ERRORS.labels("tick").inc()

    async def tick(self) -> None:
        """Look once, decide on each ServedModel, and tell what is news."""
        now = self._clock()
        self._failed_before, self._failed = self._failed, set()
        self._follow_specs(now)
        reading = await self._signals.read_fleet(self._wishes(now), now=now)
        now = self._clock()
        decided = await self._decide_all(reading.signals, now)
        granted = self._within_budget({key: each.decision for key, each in decided.items()}, now)
        for key, each in decided.items():
            with self._alone(key, now):
                self._conclude(each.model, each.observation, granted[key], now)
        count_models(
            (each.model.scaling.mode, each.observation, granted[key])
            for key, each in decided.items()
            if key not in self._failed
        )

    # Defects

    @contextlib.contextmanager
    def _alone(self, key: ModelKey, now: datetime) -> Iterator[None]:
        """Do something about one ServedModel: a defect holds that one, and the rest of the fleet goes on."""
        try:
            yield
        except Exception:
            if key not in self._failed_before:
                log.exception("deciding on replicas failed, they are held", extra={"model": str(key)})
            telemetry.SCALING_ERRORS.labels("decision").inc()
            self._failed.add(key)
            self._hold_failed(key, now)

    def _hold_failed(self, key: ModelKey, now: datetime) -> None:
        model, read = self._scaled.get(key), self._specs.get(key)
        if model is not None:
            self._tell(key, model.fail(now=now))
        elif read is not None and read.spec is not None and _is_scaled(read.spec):
            view = ScalingView(
                uid=read.uid, mode=scaling_mode(read.spec), replicas=None, active=DECISION_FAILED, limited=None
            )
            self._tell(key, view)

    # Which ServedModels

    def _follow_specs(self, now: datetime) -> None:
        """Take up ServedModels that came, forget those that went, and read the specs that changed."""
        seen: set[ModelKey] = set()
        for key, raw in self._models():
            if not raw["metadata"].get("deletionTimestamp"):
                seen.add(key)
                with self._alone(key, now):
                    self._specs[key] = read = _read(raw, self._specs.get(key))
                    self._follow(key, raw, read, now)
        for gone in self._specs.keys() - seen:
            del self._specs[gone]
            self._scaled.pop(gone, None)
        self._board.keep_only(key for key, read in self._specs.items() if _is_scaled(read.spec))

    def _follow(self, key: ModelKey, raw: RawObject, read: _Spec, now: datetime) -> None:
        spec, known = read.spec, self._scaled.get(key)
        if spec is None or spec.autoscaling is None or scaling_mode(spec) is AutoscalingMode.OFF:
            self._scaled.pop(key, None)
        elif known is None or known.uid != read.uid:
            self._scaled.pop(key, None)
            self._scaled[key] = ScaledModel(key, raw, spec, spec.autoscaling, now=now)
        else:
            known.follow(spec, spec.autoscaling, now=now)

    def _wishes(self, now: datetime) -> Mapping[ModelKey, SignalWish]:
        """Look at what runs, and return what is to be asked of Prometheus."""
        wishes = {}
        for key, model in self._scaled.items():
            with self._alone(key, now):
                model.look(self._cache, now=now)
                wishes[key] = model.wish()
        return wishes

    # The fleet's budget

    def _within_budget(self, decisions: Mapping[ModelKey, Decision], now: datetime) -> Mapping[ModelKey, Decision]:
        if self._budget.is_unlimited:
            return decisions
        pools = {key: self._scaled[key].seen.pools for key in self._specs if key in self._scaled}
        acting = {key: each for key, each in pools.items() if self._scaled[key].is_auto}
        # What is only recommended runs nothing and gives nothing up: it takes what it runs, no more and no less.
        watching = (use for key, each in pools.items() if key not in acting for use in uses(each))
        granted = within_budget(
            acting,
            {key: decision for key, decision in decisions.items() if key in acting},
            self._budget,
            others=[*self._others(now), *watching],
        )
        return {**decisions, **granted}

    def _others(self, now: datetime) -> list[PoolWish]:
        """Return what else serves and uses the budget: what is not scaled, cannot be read, or left its spec."""
        before, self._unscaled = self._unscaled, {}
        for key in self._specs.keys() - self._scaled.keys():
            if key in before:
                self._unscaled[key] = before[key]
            with self._alone(key, now):
                self._unscaled[key] = self._look(key, before.get(key))
        departed = (use for model in self._scaled.values() for use in model.seen.departed)
        return [*departed, *(use for seen in self._unscaled.values() for use in seen.uses)]

    def _look(self, key: ModelKey, before: _Seen | None) -> _Seen:
        revision = self._cache.revision(key)
        if before is not None and before.revision == revision:
            return before
        return _Seen(revision, tuple(budget_use(self._cache.children(key)).values()))

    # Decide

    async def _decide_all(self, signals: Signals, now: datetime) -> dict[ModelKey, _Decided]:
        decided = {}
        for number, (key, model) in enumerate(self._scaled.items(), start=1):
            if key not in self._failed:
                with self._alone(key, now):
                    if self._may_decide(model, now):
                        decided[key] = self._decide_one(model, signals, now)
            if number % _DECISIONS_AT_A_STRETCH == 0:
                await asyncio.sleep(0)
        return decided

    def _may_decide(self, model: ScaledModel, now: datetime) -> bool:
        """Whether replicas are this loop's to set; where they are not, say why."""
        if not model.is_auto:
            return True
        if model.spec.paused:
            self._tell(model.key, model.hold(PAUSED, now=now))
            return False
        self._autoscalers.ask(since=model.auto_since)
        if not self._autoscalers.are_known_since(model.auto_since):
            return False
        deployments = [deployment_name(model.key.name, pool.name) for pool in model.spec.pools]
        other = self._autoscalers.scaling(model.key, deployments)
        if other is not None:
            self._tell(model.key, model.hold(external_autoscaler(other), now=now))
        return other is None

    def _decide_one(self, model: ScaledModel, signals: Signals, now: datetime) -> _Decided:
        observation = model.observation(
            {pool.pool.name: signals[model.key, pool.pool.name] for pool in model.seen.pools}
        )
        decision, model.state = self._decide(observation, model.state, now=now)
        return _Decided(model, observation, decision)

    # Tell

    def _conclude(self, model: ScaledModel, observation: ScalingObservation, decision: Decision, now: datetime) -> None:
        view, change = model.conclude(observation, decision, now=now)
        if change is not None:
            _log_change(model, change)
        self._tell(model.key, view)

    def _tell(self, key: ModelKey, view: ScalingView) -> None:
        if self._board.put(key, view):
            self._news(key)


def _read(raw: RawObject, before: _Spec | None) -> _Spec:
    uid, generation = raw["metadata"]["uid"], raw["metadata"].get("generation", 0)
    if before is not None and (before.uid, before.generation) == (uid, generation):
        return before
    parsed = parse_served_model(raw)
    return _Spec(uid, generation, None if isinstance(parsed, InvalidServedModel) else parsed.spec)


def _is_scaled(spec: ServedModelSpec | None) -> bool:
    return spec is not None and scaling_mode(spec) is not AutoscalingMode.OFF


def _log_change(model: ScaledModel, change: ScalingDecision) -> None:
    decision = "Scale" if model.is_auto else "Recommend"
    telemetry.DECISIONS.labels(decision, change.rule).inc()
    log.info(
        "scaled" if model.is_auto else "recommended other replicas",
        extra={
            "model": str(model.key),
            "from": change.before,
            "to": change.after,
            "reason": change.rule,
            "why": change.message,
        },
    )
