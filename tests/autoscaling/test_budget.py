from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfserving_operator.autoscaling.budget import FleetBudget, PoolWish, Wish, grant

GPU = "nvidia.com/gpu"


def wish(current: int, wanted: int, *, gpus: int = 0) -> Wish:
    pool = PoolWish(current=current, wanted=wanted, resource=GPU if gpus else None, devices=gpus or 1)
    return Wish(pools={"pool": pool})


def granted(wishes: dict[str, Wish], budget: FleetBudget) -> dict[str, int]:
    return {key: pools["pool"] for key, pools in grant(wishes, budget).items()}


def test_without_bounds_every_wish_is_granted() -> None:
    assert granted({"a": wish(1, 50), "b": wish(0, 3)}, FleetBudget()) == {"a": 50, "b": 3}


def test_the_worst_shortfall_grows_first() -> None:
    wishes = {"nearly": wish(9, 10), "far": wish(1, 4)}
    assert granted(wishes, FleetBudget(replicas=12)) == {"nearly": 9, "far": 3}


def test_what_runs_is_never_taken_away() -> None:
    assert granted({"a": wish(8, 9), "b": wish(5, 5)}, FleetBudget(replicas=4)) == {"a": 8, "b": 5}


def test_what_one_gives_up_another_may_take() -> None:
    assert granted({"down": wish(6, 2), "up": wish(2, 6)}, FleetBudget(replicas=8)) == {"down": 2, "up": 6}


def test_devices_are_counted_by_replica_and_cpu_pools_do_not_need_any() -> None:
    wishes = {"large": wish(1, 3, gpus=8), "small": wish(2, 6, gpus=1), "cpu": wish(0, 5)}
    assert granted(wishes, FleetBudget(devices={GPU: 16})) == {"large": 1, "small": 6, "cpu": 5}


def test_a_pool_that_does_not_fit_leaves_room_for_a_smaller_one() -> None:
    wishes = {"large": wish(0, 1, gpus=8), "small": wish(1, 2, gpus=1)}
    assert granted(wishes, FleetBudget(devices={GPU: 4})) == {"large": 0, "small": 2}


WISHES = st.dictionaries(
    st.sampled_from("abcdef"), st.builds(wish, st.integers(0, 12), st.integers(0, 12), gpus=st.integers(0, 3))
)
BUDGETS = st.builds(
    FleetBudget,
    replicas=st.none() | st.integers(0, 30),
    devices=st.just({}) | st.builds(lambda n: {GPU: n}, st.integers(0, 20)),
)


@given(WISHES, BUDGETS)
def test_growth_stays_within_the_budget_and_nothing_is_taken(wishes: dict[str, Wish], budget: FleetBudget) -> None:
    result = granted(wishes, budget)
    pools = {key: wish.pools["pool"] for key, wish in wishes.items()}
    kept = {key: min(pool.current, pool.wanted) for key, pool in pools.items()}
    assert all(kept[key] <= result[key] <= max(kept[key], pools[key].wanted) for key in wishes)
    if budget.replicas is not None:
        assert sum(result.values()) <= max(budget.replicas, sum(kept.values()))
    if GPU in budget.devices:
        used, before = (
            sum(counts[key] * pool.devices for key, pool in pools.items() if pool.resource) for counts in (result, kept)
        )
        assert used <= max(budget.devices[GPU], before)


@given(WISHES, BUDGETS)
def test_granting_what_was_granted_grants_it_again(wishes: dict[str, Wish], budget: FleetBudget) -> None:
    first = granted(wishes, budget)
    again = {
        key: Wish(
            pools={
                "pool": PoolWish(current=first[key], wanted=pool.wanted, resource=pool.resource, devices=pool.devices)
            }
        )
        for key, pool in ((key, each.pools["pool"]) for key, each in wishes.items())
    }
    assert granted(again, budget) == first


def pools(gpu: tuple[int, int], cpu: tuple[int, int], *, most: int = 10) -> Wish:
    """A pool with a device a replica before one without, each with what it runs and wants."""
    return Wish(
        pools={
            "gpu": PoolWish(current=gpu[0], wanted=gpu[1], resource=GPU, most=most),
            "cpu": PoolWish(current=cpu[0], wanted=cpu[1], most=most),
        }
    )


@pytest.mark.parametrize(
    ("wish", "budget", "expected"),
    [
        pytest.param(pools((0, 4), (4, 0)), FleetBudget(devices={GPU: 4}), (4, 0), id="moves"),
        pytest.param(pools((0, 4), (4, 0)), FleetBudget(devices={GPU: 0}), (0, 4), id="stays"),
        pytest.param(pools((0, 4), (4, 0)), FleetBudget(devices={GPU: 1}), (1, 3), id="moves in part"),
        pytest.param(pools((0, 4), (4, 0)), FleetBudget(replicas=4), (4, 0), id="moves within all replicas"),
        pytest.param(pools((0, 2), (6, 0)), FleetBudget(devices={GPU: 0}), (0, 2), id="gives up what does not move"),
        pytest.param(pools((4, 0), (0, 6)), FleetBudget(replicas=4), (0, 4), id="moves, and does not grow"),
        pytest.param(pools((0, 3), (0, 0)), FleetBudget(devices={GPU: 0}), (0, 3), id="another pool stands in"),
        pytest.param(pools((0, 3), (0, 0), most=2), FleetBudget(devices={GPU: 0}), (0, 2), id="within its max"),
        pytest.param(pools((0, 3), (0, 0)), FleetBudget(devices={GPU: 1}), (1, 0), id="not beside the pool itself"),
        pytest.param(pools((0, 5), (3, 0)), FleetBudget(devices={GPU: 0}), (0, 5), id="stands in for growth as well"),
    ],
)
def test_what_moves_between_pools_is_kept_until_another_takes_over(
    wish: Wish, budget: FleetBudget, expected: tuple[int, int]
) -> None:
    result = grant({"a": wish}, budget)["a"]
    assert (result["gpu"], result["cpu"]) == expected


COUNTS = st.tuples(st.integers(0, 9), st.integers(0, 9))


@given(st.dictionaries(st.sampled_from("abc"), st.builds(pools, COUNTS, COUNTS)), BUDGETS)
def test_no_servedmodel_runs_less_than_before_unless_it_wants_less(
    wishes: dict[str, Wish], budget: FleetBudget
) -> None:
    result = grant(wishes, budget)
    for key, wish in wishes.items():
        current, wanted = (
            sum(pool.current for pool in wish.pools.values()),
            sum(pool.wanted for pool in wish.pools.values()),
        )
        assert min(current, wanted) <= sum(result[key].values()) <= wanted
    running = sum(min(pool.current, pool.wanted) for wish in wishes.values() for pool in wish.pools.values())
    staying = sum(pool.current for wish in wishes.values() for pool in wish.pools.values())
    if budget.replicas is not None:
        assert sum(sum(each.values()) for each in result.values()) <= max(budget.replicas, staying, running)


@given(st.dictionaries(st.sampled_from("abc"), st.builds(pools, COUNTS, COUNTS)), BUDGETS)
def test_no_servedmodel_gets_less_after_what_was_granted_runs(wishes: dict[str, Wish], budget: FleetBudget) -> None:
    """From one pool to another it may still go: a device that somebody left is free only then."""
    first = grant(wishes, budget)
    again = {
        key: pools(*((first[key][name], pool.wanted) for name, pool in wish.pools.items()))
        for key, wish in wishes.items()
    }
    assert all(sum(granted.values()) >= sum(first[key].values()) for key, granted in grant(again, budget).items())
