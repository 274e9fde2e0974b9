"""From a manifest, a scenario and a trace to a world: what is left out is made up here, and said."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tfserving_operator.api.autoscaling import Autoscaling, AutoscalingMode, Objective
from tfserving_operator.api.servedmodel import ServedModelSpec
from tfserving_operator.api.server import duration_micros
from tfserving_operator.autoscaling.buckets import ObjectiveTooShortError, snap_objective
from tfserving_operator.autoscaling.schedules import schedule_problems
from tfserving_operator.simulation.bounds import least_replicas, most_replicas, scaled
from tfserving_operator.simulation.capacity import replica_capacity
from tfserving_operator.simulation.replicas import Demand, Given, build_replica
from tfserving_operator.simulation.scenario import PoolScenario, Scenario, ScenarioError, Scraping
from tfserving_operator.simulation.trace import Trace
from tfserving_operator.simulation.world import PoolWorld, Replica, World

PEAK_SHARE = 0.8
"""Share of the most replicas that a trace's peak needs where the scenario does not say what a batch costs."""
DEFAULT_PEAK_REPLICAS = 8
"""What it needs where nothing bounds the replicas either."""
DEFAULT_OBJECTIVE = Objective(latency="122ms", percent=99.0)
"""What clients were promised where nobody says: about a tenth of a second, at a bucket edge of TensorFlow Serving."""
MOST_REPLICAS = 10_000
MOST_REQUESTS = 200_000_000
"""Requests in a replay, where they can be thinned out: about twenty seconds."""


def build_world(spec: ServedModelSpec, scenario: Scenario, trace: Trace) -> World:
    """Return the world that ``trace`` meets.

    Raises:
        ScenarioError: Manifest and scenario do not fit together, or cannot be replayed.
    """
    assumptions = list(trace.assumptions)
    _check(spec, scenario)
    autoscaling, objective = _autoscaling(spec, scenario, assumptions)
    edge_seconds = _edge_seconds(objective)
    if autoscaling.schedules and not trace.is_dated:
        assumptions.append(
            f"schedules take the trace to begin on {trace.origin:%A at %H:%M} UTC: time_seconds in seconds since 1970 "
            "would say when it was"
        )
    if scenario == Scenario():
        assumptions.append(_default_scenario())
    pools, most = _pools(spec, scenario, trace, objective, assumptions)
    return World(
        autoscaling=autoscaling if most_replicas(spec) else autoscaling.model_copy(update={"max_replicas": most}),
        replicas=spec.replicas,
        pools=pools,
        objective_seconds=duration_micros(objective.latency) / 1e6,
        percent=objective.percent,
        good_edge_seconds=edge_seconds,
        timeout_seconds=max(duration_micros(objective.latency), duration_micros(scenario.client_timeout)) / 1e6,
        most=most,
        load_balancing=scenario.load_balancing,
        scraping=scenario.scraping,
        requests_per_arrival=scenario.requests_per_arrival,
        drain_seconds=spec.server.drain_seconds if scenario.drain_seconds is None else scenario.drain_seconds,
        tick_seconds=scenario.tick_seconds,
        seed=scenario.seed,
        assumptions=tuple(assumptions),
    )


def with_few_requests(trace: Trace, scenario: Scenario) -> Trace:
    """Return ``trace``, thinned out where it has so many requests that a replay would take minutes.

    Only where nothing says what a batch costs: a replica is made up to fit the trace then, whatever its rates are.
    """
    factor = math.ceil(trace.requests / MOST_REQUESTS)
    has_costs = any(pool.batch_cost is not None for pool in scenario.pools)
    return trace if factor <= 1 or has_costs else trace.thinned(factor)


def _check(spec: ServedModelSpec, scenario: Scenario) -> None:
    """Refuse what the API server would refuse too, as far as a replay depends on it."""
    names = [pool.name for pool in spec.pools]
    if len(set(names)) < len(names):
        raise ScenarioError(f"two pools of the manifest have the same name: {', '.join(names)}")
    if not scaled(spec.pools):
        raise ScenarioError(
            "every pool fixes its replicas, so there is nothing to scale: give a pool min and max instead"
        )
    for pool in spec.pools:
        least, most = pool.replicas.min, pool.replicas.max
        if least is not None and most is not None and least > most:
            raise ScenarioError(f"pool {pool.name}: replicas.min is {least} and replicas.max is {most}: swap them")
    if most_replicas(spec) == 0:
        raise ScenarioError("replicas.max is 0 in every pool: allow at least one replica")
    _check_most(spec)
    given = [pool.name for pool in scenario.pools]
    for name in given:
        if name not in names:
            raise ScenarioError(f"the scenario names the pool {name!r}: the manifest has {', '.join(names)}")
    if len(set(given)) < len(given):
        raise ScenarioError(f"two pools of the scenario have the same name: {', '.join(given)}")
    problems = schedule_problems(spec.autoscaling.schedules) if spec.autoscaling is not None else []
    if problems:
        raise ScenarioError(problems[0])


def _check_most(spec: ServedModelSpec) -> None:
    """Refuse minimums above maxReplicas, which counts the pools that are scaled; schedules count fixed ones too."""
    autoscaling = spec.autoscaling
    if autoscaling is None or autoscaling.mode is AutoscalingMode.OFF or autoscaling.max_replicas is None:
        return
    fewest = sum(pool.replicas.min or 0 for pool in scaled(spec.pools))
    if fewest > autoscaling.max_replicas:
        raise ScenarioError(
            f"the pools' min come to {fewest}, and autoscaling.maxReplicas is {autoscaling.max_replicas}: raise it or "
            "lower a min"
        )
    most = autoscaling.max_replicas + sum(pool.replicas.fixed or 0 for pool in spec.pools)
    for schedule in autoscaling.schedules:
        if schedule.min_replicas > most:
            raise ScenarioError(
                f"schedule {schedule.name} asks for {schedule.min_replicas} replicas, and autoscaling.maxReplicas "
                f"allows {most}: raise it or lower minReplicas"
            )


def _autoscaling(spec: ServedModelSpec, scenario: Scenario, assumptions: list[str]) -> tuple[Autoscaling, Objective]:
    """Return the settings that are replayed, and the objective that all policies are judged by."""
    autoscaling = spec.autoscaling
    if autoscaling is None:
        autoscaling = Autoscaling(mode=AutoscalingMode.AUTO)
        assumptions.append("the manifest has no spec.autoscaling, so everything in it has its default")
    elif autoscaling.mode is AutoscalingMode.OFF:
        assumptions.append("spec.autoscaling.mode is Off, and replayed as if it were Auto")
    objective = scenario.objective or autoscaling.objective
    if objective is None:
        objective = DEFAULT_OBJECTIVE
        assumptions.append(
            f"nothing says what clients were promised, so it is {objective.percent:g}% of requests within "
            f"{objective.latency}: write spec.autoscaling.objective, or objective in the scenario"
        )
    elif scenario.objective is not None and autoscaling.objective not in (None, scenario.objective):
        assumptions.append("the objective is the scenario's, not the manifest's")
    return autoscaling.model_copy(update={"objective": objective}), objective


def _edge_seconds(objective: Objective) -> float:
    try:
        return snap_objective(duration_micros(objective.latency)).micros / 1e6
    except ObjectiveTooShortError as error:
        raise ScenarioError(str(error)) from error


def _default_scenario() -> str:
    pool, scraping = PoolScenario(name="any"), Scraping()
    start_up = pool.start_up.image.median_seconds + pool.start_up.model_load.median_seconds
    return (
        f"no scenario says otherwise, so replicas take about {start_up:g} s to start, Prometheus scrapes every "
        f"{scraping.interval_seconds:g} s, and each request goes to a ready replica at random"
    )


def _pools(
    spec: ServedModelSpec, scenario: Scenario, trace: Trace, objective: Objective, assumptions: list[str]
) -> tuple[tuple[PoolWorld, ...], int]:
    """Return the pools, and the most replicas over all that are scaled."""
    given = {pool.name: pool for pool in scenario.pools}
    fixed = sum(pool.replicas.fixed or 0 for pool in spec.pools)
    loads = trace.heaviest_loads()
    peak_replicas = _peak_replicas(spec, scenario, trace)
    of_one = tuple((rate / (peak_replicas + fixed), scale) for rate, scale in loads)
    replicas = []
    for pool in spec.pools:
        it = Given(pool, given.get(pool.name, PoolScenario(name=pool.name)), pool.batching or spec.batching)
        demand = Demand(of_one, peak_replicas, objective, scenario.requests_per_arrival)
        replicas.append((it, build_replica(it, demand, assumptions)))
    most = most_replicas(spec)
    if most is None:
        enough = _enough_replicas([replica for _, replica in replicas], loads, fixed, objective, scenario)
        most = max(enough, least_replicas(spec.pools) + 1)
        assumptions.append(f"nothing bounds the replicas, so at most {most} are taken: give every pool replicas.max")
    worlds = (
        PoolWorld(
            pool=it.pool,
            replica=replica,
            start_up=it.scenario.start_up,
            nodes=it.scenario.nodes,
            crashes_per_replica_day=it.scenario.crashes_per_replica_day,
            least=it.pool.replicas.min or 0,
            most=most if it.pool.replicas.max is None else it.pool.replicas.max,
        )
        for it, replica in replicas
    )
    return tuple(worlds), most


def _peak_replicas(spec: ServedModelSpec, scenario: Scenario, trace: Trace) -> float:
    """Return how many replicas the trace's peak needs where nothing says what a batch costs."""
    devices = None if trace.gpus_available is None else int(trace.gpus_available.min())
    most, least = most_replicas(spec, devices=devices), least_replicas(spec.pools)
    if scenario.peak_replicas is not None:
        return scenario.peak_replicas
    if most is not None:
        return max(float(least), PEAK_SHARE * most)
    # Who runs a fixed number today has chosen it by the peak.
    return float(max(least, spec.replicas if spec.replicas > 1 else DEFAULT_PEAK_REPLICAS))


def _enough_replicas(
    replicas: Sequence[Replica],
    loads: Sequence[tuple[float, float]],
    fixed: int,
    objective: Objective,
    scenario: Scenario,
) -> int:
    """Return a bound that leaves room above what the trace's peak needs."""

    def needed_at(rate: float, scale: float) -> int:
        capacity = min(
            replica_capacity(
                replica.slowed(scale),
                objective_seconds=duration_micros(objective.latency) / 1e6,
                percent=objective.percent,
                burst=scenario.requests_per_arrival,
            )
            for replica in replicas
        )
        return math.ceil(rate / capacity) - fixed if capacity > 0 else DEFAULT_PEAK_REPLICAS

    needed = max(needed_at(rate, scale) for rate, scale in loads)
    return min(MOST_REPLICAS, max(1, math.ceil(needed / PEAK_SHARE)))
