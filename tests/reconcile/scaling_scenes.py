"""A fleet for the scaling loop: ServedModels, what runs of them, and everything the loop asks, in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from prometheus_client import REGISTRY

from tests.autoscaling.scenes import signals
from tests.reconcile.scenes import Clock
from tests.reconcile.world import served_model
from tfserving_operator.api.autoscaling import Autoscaling
from tfserving_operator.api.refs import ModelKey, ObjectRef
from tfserving_operator.api.servedmodel import ServedModelSpec
from tfserving_operator.autoscaling.budget import FleetBudget
from tfserving_operator.autoscaling.decide import decide_replicas
from tfserving_operator.autoscaling.decision import Decision, ScalingRule
from tfserving_operator.autoscaling.observation import ScalingObservation
from tfserving_operator.autoscaling.signals import PoolSignals
from tfserving_operator.autoscaling.state import ScalingState
from tfserving_operator.clients.prometheus import FleetReading, SignalWish
from tfserving_operator.reconcile.scaling_board import ScalingBoard, ScalingView
from tfserving_operator.reconcile.scaling_loop import Decide, ScalingLoop
from tfserving_operator.resources.names import POOL_LABEL

FETCHED = {"name": "digits", "source": {"uri": "s3://bucket/digits"}}
FIXED_POLICY = {"mode": "Auto", "policy": "Fixed"}


def scaled_spec(**fields: Any) -> dict[str, Any]:
    """A raw spec that scales by the clock alone, in mode Auto, where ``fields`` say nothing else."""
    return {"models": [FETCHED], "autoscaling": FIXED_POLICY} | fields


def parsed(**fields: Any) -> tuple[ServedModelSpec, Autoscaling]:
    """A spec as the loop reads it."""
    spec = ServedModelSpec.model_validate(scaled_spec(**fields))
    assert spec.autoscaling is not None
    return spec, spec.autoscaling


def key_of(name: str) -> ModelKey:
    return ModelKey("models", name)


def raw_model(name: str, spec: Mapping[str, Any] | None = None, *, uid: str = "", **metadata: Any) -> dict[str, Any]:
    return served_model(spec or scaled_spec(), name=name, uid=uid or f"uid-{name}", **metadata)


def raw_deployment(name: str, pool: str, replicas: int, /, **status: int) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"{name}-{pool}", "namespace": "models", "labels": {POOL_LABEL: pool}},
        "spec": {"replicas": replicas},
        "status": {"replicas": replicas, "updatedReplicas": replicas} | status,
    }


def raw_replica(name: str, pool: str, number: int, *, ready: bool = True) -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"{name}-{pool}-{number}",
            "namespace": "models",
            "uid": f"{name}-{pool}-{number}",
            "labels": {POOL_LABEL: pool},
        },
        "status": {
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": "True" if ready else "False"},
            ]
        },
    }


class FakeCache:
    """What runs."""

    def __init__(self) -> None:
        self.looks = 0
        self.unreadable: set[str] = set()
        """Names of ServedModels whose children nobody can look at, for a defect."""
        self._children: dict[ModelKey, dict[ObjectRef, dict[str, Any]]] = {}
        self._pods: dict[ModelKey, list[dict[str, Any]]] = {}
        self._revisions: dict[ModelKey, int] = {}

    def run(self, name: str, **replicas: int) -> None:
        """Let each pool run so many ready replicas."""
        key = key_of(name)
        deployments = [raw_deployment(name, pool, count) for pool, count in replicas.items()]
        self._children[key] = {ObjectRef.of(deployment): deployment for deployment in deployments}
        self._pods[key] = [
            raw_replica(name, pool, number) for pool, count in replicas.items() for number in range(count)
        ]
        self._revisions[key] = self._revisions.get(key, 0) + 1

    def roll_out(self, name: str) -> None:
        """Let its Deployments be in the middle of replacing their pods."""
        for deployment in self._children[key_of(name)].values():
            deployment["status"]["updatedReplicas"] = 0
        self._revisions[key_of(name)] += 1

    def children(self, key: ModelKey) -> Mapping[ObjectRef, Mapping[str, Any]]:
        self.looks += 1
        if key.name in self.unreadable:
            raise ZeroDivisionError("a defect")
        return self._children.get(key, {})

    def pods(self, key: ModelKey) -> Sequence[Mapping[str, Any]]:
        return self._pods.get(key, [])

    def revision(self, key: ModelKey) -> tuple[int, ...]:
        return (self._revisions.get(key, 0),)

    def observe_write(self, obj: Mapping[str, Any]) -> None:
        raise AssertionError("the loop writes nothing")


class FakeSignals:
    """A Prometheus that sees the same load on every pool, or what ``answer`` says."""

    def __init__(self) -> None:
        self.wishes: list[Mapping[ModelKey, SignalWish]] = []
        self.failure: Exception | None = None
        self.answer: Callable[[ModelKey, datetime, int], PoolSignals] = lambda _key, now, ready: signals(
            10.0, at=now, covered=ready
        )

    async def read_fleet(self, wishes: Mapping[ModelKey, SignalWish], *, now: datetime) -> FleetReading:
        self.wishes.append(wishes)
        if self.failure is not None:
            raise self.failure
        answers = {
            (key, pool): self.answer(key, now, ready)
            for key, wish in wishes.items()
            for pool, ready in wish.pools.items()
        }
        return FleetReading(signals=answers, queries=1, seconds=0.0)


class FakeAutoscalers:
    """HorizontalPodAutoscalers, as last listed."""

    def __init__(self) -> None:
        self.asked_since: list[datetime] = []
        self.known_since: datetime | None = datetime.max
        self.names: dict[str, str] = {}
        """Name of the autoscaler by what it scales: a ServedModel or a Deployment."""

    def ask(self, *, since: datetime) -> None:
        self.asked_since.append(since)

    def are_known_since(self, moment: datetime) -> bool:
        return self.known_since is not None and self.known_since.replace(tzinfo=moment.tzinfo) >= moment

    def scaling(self, key: ModelKey, deployments: Sequence[str]) -> str | None:
        return next((self.names[name] for name in (key.name, *deployments) if name in self.names), None)


@dataclass
class Script:
    """A policy that wants what a test says, in the first pool: ``spec.replicas`` where it says nothing."""

    wanted: int | None = None
    rule: ScalingRule = ScalingRule.FORECAST
    fails_at: frozenset[int] = frozenset()
    """It raises for ServedModels with such a ``spec.replicas``."""
    seen: list[ScalingObservation] = field(default_factory=list)

    def __call__(
        self, observation: ScalingObservation, state: ScalingState, *, now: datetime
    ) -> tuple[Decision, ScalingState]:
        self.seen.append(observation)
        if observation.replicas in self.fails_at:
            raise ZeroDivisionError("a defect")
        wanted = observation.replicas if self.wanted is None else self.wanted
        name = observation.pools[0].pool.name
        return Decision(replicas={name: wanted}, rule=self.rule, message="as the script says"), state


class Fleet:
    """The loop with everything around it."""

    def __init__(self, *raws: dict[str, Any], decide: Decide | None = None, budget: FleetBudget | None = None) -> None:
        self.models = {key_of(raw["metadata"]["name"]): raw for raw in raws}
        self.cache = FakeCache()
        self.signals = FakeSignals()
        self.autoscalers = FakeAutoscalers()
        self.board = ScalingBoard()
        self.news: list[str] = []
        self.clock = Clock()
        self.decide = decide or decide_replicas
        self.budget = budget
        self.loop = self.restarted()

    def restarted(self) -> ScalingLoop:
        """A new process's loop, on the same board."""
        self.loop = ScalingLoop(
            models=self._listed,
            cache=self.cache,
            signals=self.signals,
            autoscalers=self.autoscalers,
            board=self.board,
            news=lambda key: self.news.append(key.name),
            clock=self.clock,
            budget=self.budget,
            decide=self.decide,
        )
        return self.loop

    def _listed(self) -> Iterable[tuple[ModelKey, Mapping[str, Any]]]:
        return list(self.models.items())

    def put(self, raw: dict[str, Any]) -> None:
        """Add a ServedModel, or replace it with the next generation."""
        key = key_of(raw["metadata"]["name"])
        before = self.models.get(key)
        generation = 1 if before is None else before["metadata"]["generation"] + 1
        self.models[key] = raw | {"metadata": raw["metadata"] | {"generation": generation}}

    async def tick(self, times: int = 1, *, seconds: float = 2.0) -> None:
        for _ in range(times):
            await self.loop.tick()
            self.clock.advance(seconds)

    def view(self, name: str) -> ScalingView | None:
        return self.board.view(key_of(name), uid=self.models[key_of(name)]["metadata"]["uid"])

    def shown(self, name: str) -> ScalingView:
        view = self.view(name)
        assert view is not None, f"nothing is on the board for {name}"
        return view


def running(*names: str, script: Script | None = None, spec: dict[str, Any] | None = None) -> Fleet:
    """ServedModels with two replicas each."""
    fleet = Fleet(*(raw_model(name, spec or scaled_spec(replicas=2)) for name in names), decide=script or Script())
    for name in names:
        fleet.cache.run(name, default=2)
    return fleet


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0
