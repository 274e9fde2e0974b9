"""How many replicas each pool should have, by mode, decision, restart and change of spec."""

from __future__ import annotations

from typing import Any

import pytest

from tests.reconcile.observed_scenes import applied, observed, view
from tfserving_operator.api.autoscaling import AppliedReplicas, AutoscalingStatus
from tfserving_operator.reconcile.wanted_replicas import Wanted, wanted_replicas

TWO = ({"name": "gpu", "replicas": {"max": 4}}, {"name": "cpu"})
ONE_FIXED = ({"name": "gpu", "replicas": {"fixed": 1}}, {"name": "cpu"})


def after(**kwargs: Any) -> Wanted:
    """What is wanted; ``applied`` is what status says that mode Auto made."""
    made: AppliedReplicas | None = kwargs.pop("applied", None)
    status = None if made is None else AutoscalingStatus(applied=made)
    return wanted_replicas(observed(status=status, **kwargs))


# Who says it


@pytest.mark.parametrize("mode", [None, "Off", "Recommend"])
def test_spec_counts_unless_auto_is_on_whatever_was_decided(mode: str | None) -> None:
    scaling = view("Auto" if mode is None else mode, replicas={"cpu": 7})
    assert after(mode=mode, replicas=2, runs={"cpu": 5}, scaling=scaling) == Wanted({"cpu": 2})


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        pytest.param({"scaling": view(replicas={"cpu": 7}), "runs": {"cpu": 5}}, 7, id="decided"),
        pytest.param({"scaling": view(replicas=None), "runs": {"cpu": 5}}, 5, id="held"),
        pytest.param({"runs": {"cpu": 5}}, 5, id="just started"),
        pytest.param({"runs": {"cpu": 5}, "applied": applied(2, cpu=3)}, 5, id="written before status was"),
        pytest.param({"applied": applied(2, cpu=3)}, 3, id="Deployment deleted meanwhile"),
        pytest.param({}, 2, id="nothing there yet"),
        pytest.param({"scaling": view("Recommend", replicas={"cpu": 7}), "runs": {"cpu": 5}}, 5, id="only recommended"),
        pytest.param({"runs": {"cpu": 0}, "replicas": 2}, 0, id="nothing runs on purpose"),
    ],
)
def test_auto_makes_what_was_decided_or_holds_what_runs(case: dict[str, Any], expected: int) -> None:
    wanted = after(**{"replicas": 2} | case)
    assert wanted == Wanted({"cpu": expected}, applied(2, cpu=expected))


def test_what_the_load_needs_goes_along_with_the_replicas_of_fixed_pools() -> None:
    scaling = view(replicas={"cpu": 4}, enough=2)
    assert after(pools=ONE_FIXED, runs={"gpu": 1, "cpu": 4}, scaling=scaling).enough == 3
    assert after(pools=ONE_FIXED, runs={"gpu": 1, "cpu": 4}, scaling=view(replicas={"cpu": 4})).enough is None


def test_all_that_is_wanted_has_to_serve_while_a_pool_departs() -> None:
    scaling = view(replicas={"cpu": 1}, enough=1)
    assert after(runs={"cpu": 1, "gone": 3}, scaling=scaling).enough is None


# Leaving Auto


@pytest.mark.parametrize("mode", [None, "Off", "Recommend"])
def test_leaving_auto_scales_nothing(mode: str | None) -> None:
    kept = after(mode=mode, replicas=2, runs={"cpu": 5}, applied=applied(2, cpu=5))
    assert kept == Wanted({"cpu": 5}, applied(2, cpu=5))


@pytest.mark.parametrize("replicas", [1, 5, 9])
def test_a_change_of_spec_replicas_takes_over_from_what_auto_made(replicas: int) -> None:
    assert after(mode="Off", replicas=replicas, runs={"cpu": 5}, applied=applied(2, cpu=5)) == Wanted({"cpu": replicas})


def test_what_auto_made_is_forgotten_where_spec_says_the_same() -> None:
    assert after(mode="Off", replicas=2, runs={"cpu": 2}, applied=applied(2, cpu=2)) == Wanted({"cpu": 2})


def test_what_auto_made_comes_back_when_its_deployment_was_deleted_after_it_ended() -> None:
    assert after(mode="Off", replicas=2, applied=applied(2, cpu=5)) == Wanted({"cpu": 5}, applied(2, cpu=5))


def test_auto_that_comes_back_after_a_change_of_spec_goes_on_from_what_runs() -> None:
    wanted = after(replicas=9, runs={"cpu": 5}, applied=applied(2, cpu=5))
    assert wanted == Wanted({"cpu": 5}, applied(9, cpu=5))


# Pools that come, go and are fixed


@pytest.mark.parametrize("scaling", [None, view(replicas={"cpu": 3})], ids=["held", "decided before it came"])
def test_a_new_pool_starts_at_its_min(scaling: Any) -> None:
    pools = ({"name": "gpu", "replicas": {"min": 1, "max": 4}}, {"name": "cpu"})
    wanted = after(pools=pools, runs={"cpu": 3}, scaling=scaling)
    assert wanted.replicas == {"gpu": 1, "cpu": 3}


def test_a_fixed_pool_has_what_it_says_and_is_not_remembered() -> None:
    wanted = after(pools=ONE_FIXED, runs={"gpu": 3, "cpu": 2}, scaling=view(replicas={"gpu": 3, "cpu": 4}))
    assert wanted == Wanted({"gpu": 1, "cpu": 4}, applied(2, cpu=4))


def test_others_provide_for_the_load_of_a_pool_that_left_and_still_serves() -> None:
    wanted = after(runs={"gpu": 3, "cpu": 1}, desired={"gpu": 3, "cpu": 1}, scaling=view(replicas={"cpu": 1}))
    assert wanted.replicas == {"cpu": 4}


def test_others_provide_for_what_a_pool_that_left_runs_where_status_says_less() -> None:
    wanted = after(runs={"gpu": 3}, desired={"cpu": 1, "gpu": 0}, scaling=view(replicas={"cpu": 1}))
    assert wanted.replicas == {"cpu": 3}


def test_what_others_provide_for_a_pool_that_left_does_not_grow_from_look_to_look() -> None:
    wanted = after(runs={"gpu": 3, "cpu": 4}, desired={"cpu": 4, "gpu": 0}, scaling=view(replicas={"cpu": 1}))
    assert wanted.replicas == {"cpu": 4}


def test_after_a_pool_is_gone_the_decision_counts_again() -> None:
    wanted = after(runs={"cpu": 4}, desired={"cpu": 4}, scaling=view(replicas={"cpu": 1}))
    assert wanted.replicas == {"cpu": 1}


def test_a_fixed_pool_does_not_count_for_a_pool_that_left() -> None:
    wanted = after(
        pools=ONE_FIXED,
        runs={"gpu": 1, "old": 2, "cpu": 1},
        desired={"gpu": 1, "old": 2, "cpu": 1},
        scaling=view(replicas={"cpu": 1}),
    )
    assert wanted.replicas == {"gpu": 1, "cpu": 3}


# Bounds


@pytest.mark.parametrize(
    ("pool", "autoscaling", "decided", "expected"),
    [
        ({"min": 2}, {}, 1, 2),
        ({"max": 4}, {}, 9, 4),
        ({}, {"maxReplicas": 3}, 9, 3),
        ({"min": 5}, {"maxReplicas": 3}, 9, 5),
    ],
    ids=["min", "max", "maxReplicas", "min before maxReplicas"],
)
@pytest.mark.parametrize("is_decided", [True, False], ids=["decided", "held"])
def test_bounds_that_changed_since_count_at_once(
    pool: dict[str, int], autoscaling: dict[str, int], decided: int, expected: int, is_decided: bool
) -> None:
    scaling = view(replicas={"cpu": decided}) if is_decided else None
    pools = ({"name": "cpu", "replicas": pool},)
    assert after(pools=pools, runs={"cpu": decided}, scaling=scaling, **autoscaling).replicas == {"cpu": expected}


def test_the_last_pool_gives_up_first_what_max_replicas_forbids() -> None:
    wanted = after(pools=TWO, scaling=view(replicas={"gpu": 3, "cpu": 3}), maxReplicas=4)
    assert wanted.replicas == {"gpu": 3, "cpu": 1}
