from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfserving_operator.api.autoscaling import FillOrder
from tfserving_operator.autoscaling.allocation import (
    FixedReplicas,
    PoolSlot,
    TrafficSplit,
    grown,
    in_fill_order,
    mix_for,
    shared_out,
)

NONE_FIXED = FixedReplicas()


def slot(name: str, *, most: int = 10, **fields: Any) -> PoolSlot:
    fields.setdefault("fewest", 0)
    fields.setdefault("desired", 0)
    fields.setdefault("reachable", most)
    return PoolSlot(name=name, most=most, **fields)


def mix(rate: float, *slots: PoolSlot, fill: FillOrder = FillOrder.PRIORITY, **fields: Any) -> dict[str, int]:
    found = mix_for(rate, slots, fields.get("fixed", NONE_FIXED), fill, fields.get("split", TrafficSplit.EVEN))
    assert found is not None
    return shared_out(found.total, slots, found.order)


GPU = slot("gpu", most=4, capacity=100.0, cost=8.0)
CPU = slot("cpu", most=100, capacity=10.0, cost=1.0)
FAST_CPU = slot("cpu", most=100, capacity=80.0, cost=1.0)


def test_the_first_pool_carries_what_it_can() -> None:
    assert mix(380, GPU, CPU) == {"gpu": 4, "cpu": 0}


def test_overflow_makes_every_replica_carry_no_more_than_the_weakest() -> None:
    assert mix(450, GPU, FAST_CPU) == {"gpu": 4, "cpu": 2}


def test_weak_overflow_that_helps_is_taken_in_full() -> None:
    assert mix(450, GPU, CPU) == {"gpu": 4, "cpu": 41}


def test_weak_overflow_that_would_make_things_worse_is_left_out() -> None:
    few = slot("cpu", most=20, capacity=10.0)
    assert mix(450, GPU, few) == {"gpu": 4, "cpu": 0}


def test_with_weighted_routing_each_pool_adds_what_it_carries() -> None:
    assert mix(450, GPU, CPU, split=TrafficSplit.WEIGHTED) == {"gpu": 4, "cpu": 5}


def test_cost_takes_the_pool_that_is_cheaper_for_what_it_carries() -> None:
    assert mix(380, GPU, FAST_CPU, fill=FillOrder.COST) == {"gpu": 0, "cpu": 5}
    assert mix(380, GPU, slot("cpu", most=100, capacity=10.0, cost=1.0), fill=FillOrder.COST) == {"gpu": 4, "cpu": 0}


def test_a_mix_that_runs_is_not_left_for_one_that_is_hardly_cheaper() -> None:
    running = slot("gpu", most=4, capacity=100.0, cost=1.05, desired=4)
    other = slot("cpu", most=4, capacity=100.0, cost=1.0)
    assert mix(400, running, other, fill=FillOrder.COST) == {"gpu": 4, "cpu": 0}


def test_fixed_replicas_carry_their_share() -> None:
    assert mix(400, slot("cpu", capacity=100.0), fixed=FixedReplicas(ready=3, capacity=100.0)) == {"cpu": 1}


def test_a_pool_that_was_never_measured_is_taken_to_carry_what_others_do() -> None:
    assert mix(450, GPU, slot("cpu", capacity=None)) == {"gpu": 4, "cpu": 1}


def test_without_any_capacity_there_is_no_mix() -> None:
    assert mix_for(10, [slot("cpu")], NONE_FIXED, FillOrder.PRIORITY, TrafficSplit.EVEN) is None


def test_replicas_that_wait_for_nodes_send_the_load_to_the_next_pool() -> None:
    scarce = slot("gpu", most=8, capacity=100.0, desired=5, stuck=3)
    assert mix(500, scarce, FAST_CPU) == {"gpu": 2, "cpu": 5}


def test_as_many_start_as_may_and_the_rest_goes_to_the_next_pool() -> None:
    slow = slot("gpu", most=8, capacity=80.0, desired=2, reachable=3)
    assert mix(400, slow, FAST_CPU) == {"gpu": 3, "cpu": 2}


def test_growing_takes_no_replica_from_any_pool() -> None:
    slots = [slot("gpu", most=4, desired=1), slot("cpu", desired=3)]
    assert grown(5, slots, ["gpu", "cpu"]) == {"gpu": 2, "cpu": 3}


@pytest.mark.parametrize(("fill", "order"), [(FillOrder.PRIORITY, ("gpu", "cpu")), (FillOrder.COST, ("cpu", "gpu"))])
def test_the_order_to_fill_pools_in(fill: FillOrder, order: tuple[str, ...]) -> None:
    assert in_fill_order([GPU, FAST_CPU], fill) == order


@st.composite
def slots_(draw: st.DrawFn) -> list[PoolSlot]:
    result = []
    for name in draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=4, unique=True)):
        fewest, desired = draw(st.integers(0, 4)), draw(st.integers(0, 12))
        most = draw(st.integers(max(fewest, desired), 15))
        reachable = draw(st.integers(desired, most))
        stuck = draw(st.integers(0, desired))
        capacity = draw(st.none() | st.floats(1, 200))
        cost = draw(st.floats(0, 9))
        result.append(
            PoolSlot(
                name=name,
                fewest=fewest,
                most=most,
                desired=desired,
                reachable=reachable,
                stuck=stuck,
                capacity=capacity,
                cost=cost,
            )
        )
    return result


@given(slots_(), st.integers(0, 60))
def test_shares_add_up_as_far_as_the_bounds_allow(slots: list[PoolSlot], total: int) -> None:
    shares = shared_out(total, slots, [each.name for each in slots])
    fewest, reachable = sum(each.fewest for each in slots), sum(max(each.fewest, each.reachable) for each in slots)
    assert sum(shares.values()) == min(max(total, fewest), reachable)
    assert all(each.fewest <= shares[each.name] <= each.most for each in slots)


@given(slots_(), st.floats(0, 3000), st.floats(0, 3000), st.sampled_from(FillOrder), st.sampled_from(TrafficSplit))
def test_what_a_mix_carries_grows_with_the_load(
    slots: list[PoolSlot], one: float, other: float, fill: FillOrder, split: TrafficSplit
) -> None:
    low, high = sorted((one, other))
    found = [mix_for(rate, slots, NONE_FIXED, fill, split) for rate in (low, high)]
    if any(each.capacity for each in slots):
        assert found[0] is not None
        assert found[1] is not None
        if found[1].carries >= high:
            assert found[0].carries >= low * (1 - 1e-6) - 1e-6
