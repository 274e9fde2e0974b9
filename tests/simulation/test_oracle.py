from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulation.scenes import SERVER, pool_world, start_up, steady, trace, world
from tfserving_operator.api.pool import PoolReplicas
from tfserving_operator.simulation.capacity import replica_capacity, share_at
from tfserving_operator.simulation.engine import replay
from tfserving_operator.simulation.oracle import demand_by_tick, find_oracle, least_cost_plan, pool_totals
from tfserving_operator.simulation.policies import Constant
from tfserving_operator.simulation.world import Replica, World

HILL = trace({0: 40, 600: 40, 900: 400, 1200: 400, 1500: 40, 2400: 40})


def cost(runs: tuple[int, ...], drain: int) -> int:
    """Ticks paid: those run, and a drain after each stop, as far as there are ticks."""
    stops = [tick for tick, (before, after) in enumerate(itertools.pairwise(runs), 1) if before and not after]
    return sum(runs) + sum(min(drain, len(runs) - tick) for tick in stops)


def is_ready(runs: tuple[int, ...], tick: int, start_up_ticks: int) -> bool:
    """Whether one replica is ready: it runs as long as a start takes, or since the beginning."""
    since = tick
    while since > 0 and runs[since - 1]:
        since -= 1
    return bool(runs[tick]) and (since == 0 or tick - since >= start_up_ticks)


@settings(max_examples=60)
@given(needed=st.lists(st.integers(0, 1), min_size=1, max_size=9), start=st.integers(0, 3), drain=st.integers(0, 2))
def test_no_plan_of_one_replica_is_cheaper(needed: list[int], start: int, drain: int) -> None:
    plan = tuple(least_cost_plan(np.array(needed), start_up_ticks=start, drain_ticks=drain).tolist())
    feasible = [
        runs
        for runs in itertools.product((0, 1), repeat=len(needed))
        if all(is_ready(runs, tick, start) for tick, is_needed in enumerate(needed) if is_needed)
    ]
    assert plan in feasible
    assert cost(plan, drain) == min(cost(runs, drain) for runs in feasible)


@given(needed=st.lists(st.integers(0, 6), min_size=1, max_size=30), start=st.integers(0, 5), drain=st.integers(0, 3))
def test_a_plan_has_what_is_needed_and_never_more_than_the_most(needed: list[int], start: int, drain: int) -> None:
    plan = least_cost_plan(np.array(needed), start_up_ticks=start, drain_ticks=drain)
    assert (plan >= needed).all()
    assert plan.max() == max(needed)


def test_a_short_valley_is_bridged_and_a_long_one_is_not() -> None:
    needed = np.array([2] * 5 + [1] * 4 + [2] * 5 + [1] * 12 + [2] * 5)
    plan = least_cost_plan(needed, start_up_ticks=3, drain_ticks=2)
    assert plan[5:9].tolist() == [2] * 4
    assert plan[14:26].tolist() == [1] * 9 + [2] * 3


def test_demand_follows_load_within_bounds() -> None:
    it = world(pool_world(replicas=PoolReplicas(min=2, max=6)), most=6)
    needed = demand_by_tick(trace({0: 0, 100: 0, 101: 100_000, 200: 100_000}), it)
    assert (needed[0], needed[-1]) == (2, 6)


def test_demand_counts_slow_service_times() -> None:
    load = trace({0: 100, 100: 100, 101: 100, 200: 100}, service_time_scale=[1, 1, 2, 2])
    needed = demand_by_tick(load, world())
    assert needed[-1] > needed[0]


def test_the_oracle_keeps_the_promise_where_that_can_be_done() -> None:
    it = world()
    plan = find_oracle(HILL, it)
    assert plan.replay.share_within_objective >= it.share_promised
    assert plan.totals.max() > 3 * plan.totals.min()


def test_no_constant_number_that_keeps_the_promise_is_cheaper_than_the_oracle() -> None:
    it = world()
    oracle = find_oracle(HILL, it)
    kept = [
        result.replica_hours
        for count in range(1, 15)
        for result in [replay(HILL, it, Constant({"cpu": count}), initial={"cpu": count})]
        if result.share_within_objective >= it.share_promised
    ]
    assert kept
    assert oracle.replay.replica_hours < min(kept)


def test_one_replica_fewer_at_a_steady_load_breaks_the_promise() -> None:
    it, load = world(), steady(200, 3000)
    oracle = find_oracle(load, it)
    count = int(oracle.totals.max())
    assert (oracle.totals == count).all()
    fewer = replay(load, it, Constant(), initial={"cpu": count - 1})
    assert fewer.share_within_objective < it.share_promised


def test_a_promise_out_of_reach_is_not_paid_for_without_end() -> None:
    slow = Replica(t0_seconds=0.06, t1_seconds=0.0, t2_seconds=0.0)
    plan = find_oracle(steady(5, 600), world(pool_world(slow), objective_seconds=0.05))
    assert plan.replay.share_within_objective == 0.0


def test_a_replica_is_ordered_a_start_before_it_is_needed() -> None:
    plans = [find_oracle(HILL, world(pool_world(start_up=start_up(seconds)))).totals for seconds in (0.0, 60.0)]
    first = [int(np.argmax(totals == totals.max())) for totals in plans]
    assert first[0] - first[1] == pytest.approx(30, abs=1)


def gpu_and_cpu(**fields: Any) -> World:
    return world(
        pool_world(name="gpu", gpu=True, replicas=PoolReplicas(min=0, max=8)),
        pool_world(name="cpu", replicas=PoolReplicas(min=0, max=20)),
        most=28,
        **fields,
    )


def test_replicas_without_a_device_carry_nothing_in_the_plan() -> None:
    it, load = gpu_and_cpu(), trace({0: 300, 600: 300}, gpus_available=[2, 2])
    plan = find_oracle(load, it)
    assert plan.replay.share_within_objective >= it.share_promised
    assert (plan.by_pool[:, 0] == 2).all()
    assert (plan.by_pool[:, 1] == plan.totals - 2).all()
    assert plan.totals.max() <= 8


def test_devices_are_missed_in_no_moment_when_they_go_and_come_back() -> None:
    it, load = gpu_and_cpu(), trace({0: 300, 600: 300, 1200: 300, 1800: 300}, gpus_available=[8, 2, 8, 8])
    plan = find_oracle(load, it)
    assert plan.replay.share_within_objective >= it.share_promised
    needed = demand_by_tick(trace({0: 300, 1800: 300}), it)[0]
    assert plan.replay.ready.sum(axis=1).min() >= needed
    assert plan.by_pool[[0, 450, -1], 1].tolist() == [0, needed - 2, 0]


def test_a_min_that_finds_no_device_is_not_counted_on() -> None:
    gpu = pool_world(name="gpu", gpu=True, replicas=PoolReplicas(min=4, max=8))
    it = world(gpu, pool_world(replicas=PoolReplicas(min=0, max=20)), most=28)
    plan = find_oracle(trace({0: 300, 600: 300}, gpus_available=[2, 2]), it)
    assert plan.replay.share_within_objective >= it.share_promised
    assert (plan.by_pool[:, 0] == 4).all()


def test_one_replica_waits_where_there_is_no_device_at_all() -> None:
    it = world(pool_world(name="gpu", gpu=True, replicas=PoolReplicas(min=0, max=8)), most=8)
    plan = find_oracle(trace({0: 10, 300: 10}, gpus_available=[0, 0]), it)
    assert (plan.totals == 1).all()
    assert plan.replay.share_within_objective == 0.0


def test_a_trace_that_says_nothing_of_devices_has_as_many_as_are_wanted() -> None:
    it = gpu_and_cpu()
    plan = find_oracle(HILL, it)
    assert np.array_equal(plan.by_pool, pool_totals(plan.totals, it))
    many = find_oracle(replace(HILL, gpus_available=np.full(len(HILL.times_seconds), 8.0)), it)
    assert np.array_equal(plan.by_pool, many.by_pool)


def test_capacity_is_where_just_the_promise_is_kept() -> None:
    carried = replica_capacity(SERVER, objective_seconds=0.05, percent=99.0)
    assert 50 < carried < SERVER.saturation_per_second
    for factor, is_kept in ((0.95, True), (1.05, False)):
        share = share_at(SERVER, factor * carried, objective_seconds=0.05, percent=99.0)
        assert (share >= 0.99) is is_kept


def test_a_server_that_is_too_slow_carries_nothing() -> None:
    assert replica_capacity(SERVER, objective_seconds=0.009, percent=99.0) == 0.0


def test_more_is_carried_within_more_time_and_for_a_smaller_promise() -> None:
    within = [replica_capacity(SERVER, objective_seconds=seconds, percent=99.0) for seconds in (0.02, 0.05, 0.2)]
    assert within == sorted(within)
    assert replica_capacity(SERVER, objective_seconds=0.05, percent=90.0) > within[1]
