"""What one tick of autoscaling costs: python -m benchmarks.scaling_tick [--models 1 100 1000].

The loop is the operator's own, with its decisions; Prometheus, the API server and time are stand-ins in memory, and
what they cost is taken off.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tfserving_operator.api.refs import ModelKey, ObjectRef
from tfserving_operator.autoscaling.budget import FleetBudget
from tfserving_operator.autoscaling.signals import PoolSignals, SignalState
from tfserving_operator.clients.prometheus import FleetReading, SignalWish
from tfserving_operator.reconcile.scaling_board import ScalingBoard
from tfserving_operator.reconcile.scaling_loop import ScalingLoop
from tfserving_operator.resources.names import POOL_LABEL

PODS_PER_MODEL = 4
TICK = timedelta(seconds=2)
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WARM_UP_TICKS = 160
"""Beyond five minutes: by then everything that is done now and then is due."""
POOLS = [{"name": "gpu", "replicas": {"max": 8}}, {"name": "cpu"}]
SCALED = {"mode": "Auto", "objective": {"latency": "50ms"}}

RawObject = Mapping[str, Any]


def raw_model(key: ModelKey, number: int, *, scaled: bool) -> RawObject:
    return {
        "metadata": {"name": key.name, "namespace": key.namespace, "uid": f"uid-{number}", "generation": 1},
        "spec": {
            "models": [{"name": "digits", "source": {"uri": "s3://bucket/digits"}}],
            "replicas": PODS_PER_MODEL,
            "pools": POOLS,
        }
        | ({"autoscaling": SCALED} if scaled else {}),
    }


def raw_deployment(key: ModelKey, pool: str, replicas: int) -> RawObject:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"{key.name}-{pool}", "namespace": key.namespace, "labels": {POOL_LABEL: pool}},
        "spec": {"replicas": replicas},
        "status": {"replicas": replicas, "updatedReplicas": replicas},
    }


def raw_pod(key: ModelKey, number: int) -> RawObject:
    name = f"{key.name}-gpu-6d4cf56db6-{number:05d}"
    at = START.isoformat()
    return {
        "metadata": {
            "name": name,
            "namespace": key.namespace,
            "uid": name,
            "labels": {POOL_LABEL: "gpu"},
            "creationTimestamp": at,
        },
        "status": {
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": "True", "lastTransitionTime": at},
            ],
            "containerStatuses": [{"name": "server", "restartCount": 0, "state": {"running": {}}}],
        },
    }


class Surroundings:
    """A fleet that always runs the same, under a load that goes up and down by a fifth."""

    def __init__(self, models: int, *, scaled: int) -> None:
        self.now = START
        self.own_seconds = 0.0
        self.touched = 0
        keys = [ModelKey(f"team-{number % 20}", f"model-{number}") for number in range(models)]
        self.raws = {key: raw_model(key, number, scaled=number < scaled) for number, key in enumerate(keys)}
        self._children = {key: {ObjectRef.of(child): child for child in self._deployments(key)} for key in self.raws}
        self._pods = {key: [raw_pod(key, number) for number in range(PODS_PER_MODEL)] for key in self.raws}

    @staticmethod
    def _deployments(key: ModelKey) -> Iterator[RawObject]:
        yield raw_deployment(key, "gpu", PODS_PER_MODEL)
        yield raw_deployment(key, "cpu", 0)

    def clock(self) -> datetime:
        return self.now

    # The cache

    def children(self, key: ModelKey) -> Mapping[ObjectRef, RawObject]:
        return self._children[key]

    def pods(self, key: ModelKey) -> Sequence[RawObject]:
        return self._pods[key]

    def revision(self, key: ModelKey) -> tuple[int, ...]:
        return (self.touched,)

    def observe_write(self, obj: RawObject) -> None:
        raise AssertionError("the loop writes nothing")

    # Prometheus

    async def read_fleet(self, wishes: Mapping[ModelKey, SignalWish], *, now: datetime) -> FleetReading:
        began = time.process_time()
        rate = 100.0 + 20.0 * math.sin(now.timestamp() / 60)
        signals = {
            (key, pool): self._signals(rate, ready, now)
            for key, wish in wishes.items()
            for pool, ready in wish.pools.items()
        }
        self.own_seconds += time.process_time() - began
        return FleetReading(signals=signals, queries=8, seconds=0.0)

    @staticmethod
    def _signals(rate: float, ready: int, now: datetime) -> PoolSignals:
        if ready == 0:
            return PoolSignals(state=SignalState.NO_REPLICAS)
        return PoolSignals(
            state=SignalState.MEASURED,
            at=now - timedelta(seconds=now.timestamp() % 15),
            window_seconds=15.0,
            replicas_covered=ready,
            requests_per_second=rate,
            good_per_second=rate * 0.995,
            concurrency=rate * 0.02,
        )

    # Autoscalers

    def ask(self, *, since: datetime) -> None:
        pass

    def are_known_since(self, moment: datetime) -> bool:
        return True

    def scaling(self, key: ModelKey, deployments: Sequence[str]) -> str | None:
        return None


@dataclass(frozen=True, kw_only=True)
class Case:
    """``changing`` is a fleet in which some pod of every ServedModel changes between any two ticks."""

    name: str
    changing: bool = False
    budget: FleetBudget | None = None
    scaled_share: float = 1.0


BUDGET = FleetBudget(replicas=1_000_000)
CASES = (
    Case(name="steady"),
    Case(name="steady, with a fleet budget", budget=BUDGET),
    Case(name="one in ten is scaled, with a fleet budget", budget=BUDGET, scaled_share=0.1),
    Case(name="pods of every ServedModel change", changing=True),
)


async def measure(case: Case, models: int, ticks: int) -> list[float]:
    """Return the CPU seconds of each tick."""
    world = Surroundings(models, scaled=max(1, round(models * case.scaled_share)))
    loop = ScalingLoop(
        models=lambda: list(world.raws.items()),
        cache=world,
        signals=world,
        autoscalers=world,
        board=ScalingBoard(),
        news=lambda _key: None,
        clock=world.clock,
        budget=case.budget,
    )
    spent = []
    for _ in range(WARM_UP_TICKS + ticks):
        world.now += TICK
        world.touched += case.changing
        world.own_seconds, began = 0.0, time.process_time()
        await loop.tick()
        spent.append(time.process_time() - began - world.own_seconds)
    return spent[WARM_UP_TICKS:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, nargs="+", default=[1, 100, 1000])
    parser.add_argument("--ticks", type=int, default=50)
    options = parser.parse_args()
    logging.disable(logging.INFO)
    print("| ServedModels | fleet | CPU of a tick, median | worst |")
    print("| ---: | --- | ---: | ---: |")
    for models in options.models:
        for case in CASES:
            spent = asyncio.run(measure(case, models, options.ticks))
            median, worst = statistics.median(spent) * 1000, max(spent) * 1000
            print(f"| {models:,} | {case.name} | {median:.1f} ms | {worst:.1f} ms |", flush=True)


if __name__ == "__main__":
    main()
