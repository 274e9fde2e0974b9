"""Small worlds in few words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfserving_operator.api.autoscaling import Autoscaling, AutoscalingMode, Objective
from tfserving_operator.api.pool import Accelerator, Pool, PoolReplicas
from tfserving_operator.autoscaling.decision import Decision
from tfserving_operator.simulation.engine import Moment
from tfserving_operator.simulation.kernel.layout import Array
from tfserving_operator.simulation.policies import Operator
from tfserving_operator.simulation.scenario import LoadBalancing, Nodes, Scraping, StartUp, VaryingTime
from tfserving_operator.simulation.trace import Trace, build_trace
from tfserving_operator.simulation.world import PoolWorld, Replica, World

TICK_SECONDS = 2.0
HOUR = 3600.0
SERVER = Replica(t0_seconds=0.01, t1_seconds=0.0, t2_seconds=0.0)
"""One request at a time, exactly 10 ms each."""


def start_up(seconds: float, *, model_load: float = 0.0) -> StartUp:
    return StartUp(image=VaryingTime(median_seconds=seconds), model_load=VaryingTime(median_seconds=model_load))


def pool_world(replica: Replica = SERVER, *, name: str = "cpu", gpu: bool = False, **fields: Any) -> PoolWorld:
    bounds = fields.pop("replicas", PoolReplicas(min=1, max=20))
    fields.setdefault("start_up", start_up(10.0, model_load=10.0))
    fields.setdefault("nodes", Nodes())
    fields.setdefault("crashes_per_replica_day", 0.0)
    return PoolWorld(
        pool=Pool(name=name, replicas=bounds, accelerator=Accelerator() if gpu else None),
        replica=replica,
        least=bounds.min or 0,
        most=bounds.max or 20,
        **fields,
    )


def world(*pools: PoolWorld, objective_seconds: float = 0.05, percent: float = 99.0, **fields: Any) -> World:
    objective = Objective(latency=f"{objective_seconds * 1e6:.0f}us", percent=percent)
    fields.setdefault("autoscaling", Autoscaling(mode=AutoscalingMode.AUTO, objective=objective))
    fields.setdefault("replicas", 1)
    fields.setdefault("good_edge_seconds", 0.0374813)
    fields.setdefault("timeout_seconds", 1000.0)
    fields.setdefault("most", 20)
    fields.setdefault("load_balancing", LoadBalancing.RANDOM)
    fields.setdefault("scraping", Scraping())
    fields.setdefault("requests_per_arrival", 1.0)
    fields.setdefault("drain_seconds", 10.0)
    fields.setdefault("tick_seconds", TICK_SECONDS)
    fields.setdefault("seed", 1)
    return World(pools=pools or (pool_world(),), objective_seconds=objective_seconds, percent=percent, **fields)


def steady(rate: float, seconds: float) -> Trace:
    return trace({0: rate, seconds: rate})


def trace(rates: Mapping[float, float], **columns: Sequence[float]) -> Trace:
    return build_trace(name="test", time_seconds=list(rates), requests_per_second=list(rates.values()), **columns)


@dataclass
class Script:
    """Sets replicas by tick, and remembers what was seen."""

    by_tick: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    seen: list[Array] = field(default_factory=list)
    look: Callable[[Moment], None] | None = None

    def decide(self, moment: Moment) -> Mapping[str, int]:
        self.seen.append(np.array(moment.seen))
        if self.look is not None:
            self.look(moment)
        return self.by_tick.get(moment.tick, {})

    def column(self, kind: int, pool: int = 0) -> Array:
        return np.array([each[pool, kind] for each in self.seen])


class Diary(Operator):
    """The operator, and all that it decided."""

    def __init__(self, its_world: World) -> None:
        super().__init__(its_world)
        self.decisions: list[Decision] = []

    def decide(self, moment: Moment) -> Mapping[str, int]:
        replicas = super().decide(moment)
        assert self.last is not None
        self.decisions.append(self.last)
        return replicas
