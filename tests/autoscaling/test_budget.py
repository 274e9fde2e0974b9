from __future__ import annotations

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
