"""One trace in one scenario against all contenders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import yaml

from tfserving_operator.api.autoscaling import (
    Autoscaling,
    AutoscalingMode,
    Behavior,
    ScalingPolicy,
    ScalingRules,
    Target,
    TargetMetric,
)
from tfserving_operator.api.servedmodel import ServedModelSpec
from tfserving_operator.autoscaling.policies.kpa import TARGET_UTILISATION
from tfserving_operator.simulation.comparison import USUAL_UTILISATION, Result, by_pool, weakest_capacity
from tfserving_operator.simulation.engine import Policy, Replay, replay
from tfserving_operator.simulation.oracle import Plan, find_oracle
from tfserving_operator.simulation.policies import Constant, Operator
from tfserving_operator.simulation.prepare import build_world
from tfserving_operator.simulation.scenario import Scenario
from tfserving_operator.simulation.trace import Trace, read_trace
from tfserving_operator.simulation.world import World

SCENARIOS = Path(__file__).parent / "scenarios"
SWEPT_UTILISATIONS = (0.5, 0.6, 0.8, 0.9)
PICTURE_POINTS = 1500


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is replayed."""

    trace: Path
    scenario: str
    contenders: tuple[str, ...]
    seed: int = 1

    @property
    def group(self) -> str:
        """``tuning``, ``held-out``, or the name of another folder."""
        return self.trace.parent.name

    @property
    def name(self) -> str:
        return f"{self.trace.stem} ({self.scenario})"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one contender did."""

    requests: int
    share: float
    replica_hours: float
    scaling_actions: int
    worst_minute_share: float
    ready: tuple[int, ...] = ()
    """Over all pools, thinned out for a picture."""


@dataclass(frozen=True, kw_only=True)
class CaseResult:
    case: Case
    hours: float
    oracle_margin: float
    needed_rate: tuple[float, ...]
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)


def run(case: Case) -> CaseResult:
    """Return how each contender does; all begin with the replicas that the oracle has at the beginning."""
    trace = read_trace(case.trace)
    world = _world(case, trace)
    oracle = find_oracle(trace, world)
    outcomes = {"Oracle": _outcome(oracle.replay, oracle)}
    initial = by_pool(int(oracle.totals[0]), world)
    for contender in case.contenders:
        its_world = replace(world, autoscaling=_autoscaling(contender, world))
        begin, policy = initial, _policy(contender, its_world, oracle)
        if contender in ("StaticPeak", "Fixed"):
            begin = by_pool(int(oracle.totals.max()), world)
        outcomes[contender] = _outcome(replay(trace, its_world, policy, initial=begin), oracle)
    moments = np.linspace(0, trace.duration_seconds, PICTURE_POINTS)
    return CaseResult(
        case=case,
        hours=trace.duration_seconds / 3600,
        oracle_margin=oracle.margin,
        needed_rate=tuple((trace.rate_at(moments) * trace.scale_at(moments) / weakest_capacity(world)).tolist()),
        outcomes=outcomes,
    )


def _world(case: Case, trace: Trace) -> World:
    content = yaml.safe_load((SCENARIOS / f"{case.scenario}.yaml").read_text())
    scenario = Scenario.model_validate({**content["scenario"], "seed": case.seed})
    return build_world(ServedModelSpec.model_validate(content["manifest"]), scenario, trace)


def _policy(contender: str, world: World, oracle: Plan) -> Policy:
    if contender == "StaticPeak":
        return Constant(by_pool(int(oracle.totals.max()), world))
    return Operator(world)


def _autoscaling(contender: str, world: World) -> Autoscaling:
    """Return the settings of ``contender``: a policy, with the utilisation it aims at after a blank (``HPA 0.8``)."""
    name, _, utilisation = contender.partition(" ")
    policy = ScalingPolicy(name) if name in list(ScalingPolicy) else ScalingPolicy.FIXED
    aimed_at = float(utilisation or USUAL_UTILISATION) * weakest_capacity(world)
    update: dict[str, object] = {"mode": AutoscalingMode.AUTO, "policy": policy}
    if policy is ScalingPolicy.HPA:
        update["target"] = Target(metric=TargetMetric.REQUESTS_PER_SECOND, value=aimed_at)
    elif policy is ScalingPolicy.KPA:
        # It aims at its own utilisation of the target, and goes down as soon as the stable window says so.
        value = aimed_at / TARGET_UTILISATION
        update["target"] = Target(metric=TargetMetric.REQUESTS_PER_SECOND, value=value)
        update["behavior"] = Behavior(scale_down=ScalingRules(stabilization_window_seconds=0))
    return world.autoscaling.model_copy(update=update)


def _outcome(replayed: Replay, oracle: Plan) -> Outcome:
    result = Result(replay=replayed, oracle_replica_hours=oracle.replay.replica_hours)
    totals = replayed.ready.sum(axis=1)
    shown = np.linspace(0, len(totals) - 1, PICTURE_POINTS).astype(int)
    return Outcome(
        requests=replayed.requests,
        share=replayed.share_within_objective,
        replica_hours=replayed.replica_hours,
        scaling_actions=replayed.scaling_actions,
        worst_minute_share=result.worst_minute_share,
        ready=tuple(int(number) for number in totals[shown]),
    )


def cases(
    traces: Iterable[Path], scenarios: Iterable[str], contenders: tuple[str, ...], *, seed: int = 1
) -> list[Case]:
    """Return a case for each trace and scenario; a folder stands for all traces in it."""
    files: list[Path] = []
    for path in traces:
        files += sorted(path.rglob("*.csv")) if path.is_dir() else [path]
    return [
        Case(trace=file, scenario=scenario, contenders=contenders, seed=seed)
        for scenario in scenarios
        for file in files
    ]
