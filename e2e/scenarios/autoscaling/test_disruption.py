"""Autoscaling while other things happen: a rollout, an operator that dies, GPUs that are all taken, a fresh start."""

from __future__ import annotations

import time

from e2e.scenarios.autoscaling.scaled import BUSY, TEMPTING_SECONDS, WINDOWS_SECONDS, Scaled, autoscaling, now
from e2e.scenarios.faulty_prometheus import FaultyPrometheus
from e2e.scenarios.platform import Platform
from e2e.scenarios.prometheus_answers import Trouble
from e2e.scenarios.replica_watch import ReplicaWatch


def test_a_rollout_and_a_dead_operator_lose_nothing(platform: Platform, scaled: Scaled, replicas: ReplicaWatch) -> None:
    fleet = scaled.fleet
    spec = scaled.spec(autoscaling(), least=1)
    fleet.serve("m", spec)
    with scaled.load(requests_per_second=60) as load:
        scaled.wait_wanted(3, 4)
        scaled.wait_ready(scaled.wanted())
        scaled.wait_within_objective(load)
        began, clean = now(), time.monotonic()
        fleet.apply(fleet.served_model("m", {**spec, "batching": {"maxBatchSize": 2, "batchTimeout": "0ms"}}))
        fleet.wait("the rollout has begun", lambda: len(fleet.pods("m")) > scaled.wanted())
        platform.kill_operator()
        platform.scale_operator(1)
        fleet.wait_settled("m")
        lowered = replicas.lowered(since=began)
        settled = now()
        summary = load.summary(since=clean)
        print(f"{summary.arrived} requests during rollout and restart, failed: {summary.failures} {load.failures[-5:]}")
        print(f"replicas since: {list(map(str, replicas.changes))}; settled {settled:%H:%M:%S}")
        assert lowered == []
        assert summary.failures == {}
        fleet.wait_condition("m", "ScalingActive", "True")
        load.set_rate(0)
        scaled.wait_wanted(1, timeout_seconds=90)


def test_a_full_gpu_pool_overflows_and_what_waits_is_not_taken_back(scaled: Scaled, replicas: ReplicaWatch) -> None:
    fleet = scaled.fleet
    pools = [
        {"name": "gpu", "accelerator": {}, "replicas": {"min": 1, "max": 2}},
        {"name": "cpu", "replicas": {"min": 0, "max": 3}},
    ]
    fleet.serve("m", {**scaled.spec(autoscaling()), "pools": pools})
    with scaled.load(requests_per_second=40) as load:
        fleet.wait("a pod waits for a GPU", lambda: scaled.wanted(pool="gpu") == 2)
        fleet.wait("the CPUs help out", lambda: scaled.wanted(pool="cpu") >= 1)
        scaled.wait_within_objective(load, timeout_seconds=90)
        print(list(map(str, replicas.changes)))
        assert [change for change in replicas.lowered() if change.deployment == "m-gpu"] == []
        load.set_rate(2)
        fleet.wait("the CPUs are given back", lambda: scaled.wanted(pool="cpu") == 0)
    # A node may be on its way, so what waits for one is kept for a quarter of an hour.
    assert scaled.wanted(pool="gpu") == 2
    limited = fleet.wait_condition("m", "ScalingLimited", "True", reason="WaitingForNode")
    print(limited["message"])


def test_an_operator_and_a_prometheus_that_know_nothing_yet_hold_what_runs(
    platform: Platform, scaled: Scaled, proxy: FaultyPrometheus, replicas: ReplicaWatch
) -> None:
    fleet, prometheus = scaled.fleet, scaled.fleet.cluster.prometheus
    fleet.serve("m", scaled.spec(autoscaling()))
    with scaled.load(requests_per_second=BUSY) as load:
        scaled.wait_wanted(3, 4)
        scaled.wait_ready(scaled.wanted())
        scaled.wait_within_objective(load)

        began = now()
        proxy.be(Trouble.SERVER_ERROR)
        load.set_rate(0)
        platform.kill_operator()
        platform.scale_operator(1)
        fleet.wait_condition("m", "ScalingActive", "False", reason="PrometheusUnavailable")
        time.sleep(TEMPTING_SECONDS)
        assert replicas.lowered(since=began) == []

        load.set_rate(BUSY)
        time.sleep(WINDOWS_SECONDS)
        prometheus.kill()
        prometheus.start()
        proxy.be(Trouble.NONE)
        fleet.wait_condition("m", "ScalingActive", "True")
        time.sleep(TEMPTING_SECONDS)
        # Known again: what a noisy load may give back is one replica.
        assert all(change.after >= 2 for change in replicas.lowered(since=began))
