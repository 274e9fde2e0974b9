"""What the scaling loop sees of Deployments and pods."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.reconcile.scaling_scenes import parsed, raw_deployment, raw_replica
from tests.reconcile.world import NOW
from tfserving_operator.api.refs import ObjectRef
from tfserving_operator.autoscaling.observation import PoolObservation
from tfserving_operator.reconcile.scaling_sight import PoolsSeen, StartUpTimes, see_pools
from tfserving_operator.resources.names import TEMPLATE_HASH_ANNOTATION

POOLS = [{"name": "gpu"}, {"name": "cpu"}]
SPEC, _ = parsed(pools=POOLS)
TIMEOUT_SECONDS = SPEC.server.load_timeout_seconds


def see(
    *deployments: dict[str, Any], pods: list[dict[str, Any]] | None = None, start_ups: StartUpTimes | None = None
) -> PoolsSeen:
    children = {ObjectRef.of(deployment): deployment for deployment in deployments}
    return see_pools(SPEC, children, pods or [], start_ups={} if start_ups is None else start_ups, now=NOW)


def cpu(*deployments: dict[str, Any], **kwargs: Any) -> PoolObservation:
    return see(*deployments, **kwargs).pools[1]


def replica(number: int = 0, *, took_seconds: float | None = None, restarts: int = 0, **kwargs: Any) -> dict[str, Any]:
    """A pod of pool cpu; the higher its number the younger it is."""
    pod = raw_replica("digits", "cpu", number, **kwargs)
    created = NOW + timedelta(minutes=number)
    pod["metadata"]["creationTimestamp"] = created.isoformat()
    pod["status"]["containerStatuses"] = [{"name": "server", "restartCount": restarts, "state": {"running": {}}}]
    if took_seconds is not None:
        ready_at = created + timedelta(seconds=took_seconds)
        pod["status"]["conditions"][1]["lastTransitionTime"] = ready_at.isoformat()
    return pod


# Deployments


def test_pools_come_in_the_order_of_the_spec_with_what_is_asked_of_their_deployments() -> None:
    seen = see(raw_deployment("digits", "cpu", 3), raw_deployment("digits", "gpu", 1))
    assert [(pool.pool.name, pool.desired) for pool in seen.pools] == [("gpu", 1), ("cpu", 3)]


def test_a_pool_without_a_deployment_has_nothing() -> None:
    pool = cpu()
    assert (pool.desired, pool.ready, pool.is_rolling_out, pool.config_hash) == (0, 0, False, "")


@pytest.mark.parametrize(("updated", "expected"), [(3, False), (1, True), (0, True)])
def test_a_pool_rolls_out_while_pods_of_an_earlier_template_are_left(updated: int, expected: bool) -> None:
    assert cpu(raw_deployment("digits", "cpu", 3, updatedReplicas=updated)).is_rolling_out is expected


def test_more_wanted_replicas_are_no_rollout() -> None:
    assert not cpu(raw_deployment("digits", "cpu", 9, replicas=3, updatedReplicas=3)).is_rolling_out


def test_what_was_learned_belongs_to_the_template() -> None:
    deployment = raw_deployment("digits", "cpu", 1)
    deployment["metadata"]["annotations"] = {TEMPLATE_HASH_ANNOTATION: "abc"}
    assert cpu(deployment).config_hash == "abc"


# Pods


def waiting() -> dict[str, Any]:
    return {"conditions": [{"type": "PodScheduled", "status": "False"}]}


def test_replicas_are_counted_by_how_far_they_are() -> None:
    no_node, draining = replica(3), replica(4)
    no_node["status"] = waiting()
    draining["metadata"]["deletionTimestamp"] = NOW.isoformat()
    pool = cpu(pods=[replica(0), replica(1), replica(2, ready=False), no_node, draining])
    assert (pool.ready, pool.starting, pool.waiting) == (2, 1, 1)


def test_only_replicas_that_take_requests_are_looked_for_in_the_load() -> None:
    draining = replica(2)
    draining["metadata"]["deletionTimestamp"] = NOW.isoformat()
    seen = see(pods=[replica(0), replica(1, ready=False), draining, raw_replica("digits", "gpu", 0)])
    assert seen.ready_pods == {"cpu": frozenset({"digits-cpu-0"}), "gpu": frozenset({"digits-gpu-0"})}


def test_pods_of_a_pool_that_left_are_no_others() -> None:
    seen = see(pods=[raw_replica("digits", "old", 0)])
    assert [pool.ready for pool in seen.pools] == [0, 0]


def test_restarts_are_summed_over_the_pods_that_exist() -> None:
    assert cpu(pods=[replica(0, restarts=2), replica(1, restarts=3)]).restarts == 5


# How long a start takes


def test_a_start_takes_as_long_as_the_median_of_the_three_newest() -> None:
    pods = [replica(number, took_seconds=seconds) for number, seconds in enumerate([500, 30, 90, 60])]
    assert cpu(pods=pods).start_up_seconds == 60


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(replica(), id="time unknown"),
        pytest.param(replica(took_seconds=60, ready=False), id="not ready"),
        pytest.param(replica(took_seconds=60, restarts=1), id="ready again after a restart"),
        pytest.param(replica(took_seconds=-5), id="clocks differ"),
        pytest.param(replica(took_seconds=TIMEOUT_SECONDS + 601), id="longer than any start"),
    ],
)
def test_what_was_no_start_is_not_measured(pod: dict[str, Any]) -> None:
    assert cpu(pods=[pod]).start_up_seconds is None


def test_readiness_that_comes_back_is_no_second_start() -> None:
    times: StartUpTimes = {}
    cpu(pods=[replica(took_seconds=60)], start_ups=times)
    assert cpu(pods=[replica(took_seconds=590)], start_ups=times).start_up_seconds == 60


def test_pods_that_are_gone_are_forgotten() -> None:
    times: StartUpTimes = {}
    cpu(pods=[replica(0, took_seconds=60), replica(1, took_seconds=70)], start_ups=times)
    cpu(pods=[replica(1, took_seconds=70)], start_ups=times)
    assert times == {"digits-cpu-1": 70}
