"""Nothing is scaled down because telemetry was lost, however it was lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
import yaml

from e2e.cluster import Cluster
from e2e.scenarios.autoscaling.scaled import BUSY, TEMPTING_SECONDS, WINDOWS_SECONDS, Scaled, autoscaling, now
from e2e.scenarios.faulty_prometheus import FaultyPrometheus
from e2e.scenarios.prometheus_answers import Trouble
from e2e.scenarios.replica_watch import ReplicaWatch


@contextmanager
def answering(proxy: FaultyPrometheus, trouble: Trouble) -> Iterator[None]:
    """Let Prometheus answer so."""
    proxy.be(trouble)
    yield
    assert proxy.asked(trouble) > 0, f"nobody asked while Prometheus {trouble.value}"


@contextmanager
def killed(cluster: Cluster, proxy: FaultyPrometheus) -> Iterator[None]:
    """Kill Prometheus and start it again."""
    cluster.prometheus.kill()
    proxy.be(Trouble.NONE)
    yield
    cluster.prometheus.start()


@contextmanager
def unscraped(cluster: Cluster, proxy: FaultyPrometheus, pods: list[str]) -> Iterator[None]:
    """Let Prometheus scrape no more of these pods."""
    path = cluster.directory / "prometheus.yaml"
    original = path.read_text()
    config = yaml.safe_load(original)
    drop = {"action": "drop", "source_labels": ["__meta_kubernetes_pod_name"], "regex": "|".join(pods)}
    config["scrape_configs"][0]["relabel_configs"].append(drop)
    cluster.prometheus.configure(yaml.safe_dump(config, sort_keys=False))
    proxy.be(Trouble.NONE)
    yield
    cluster.prometheus.configure(original)


@pytest.mark.timeout(900)
def test_lost_telemetry_holds_what_runs(scaled: Scaled, proxy: FaultyPrometheus, replicas: ReplicaWatch) -> None:
    fleet, cluster = scaled.fleet, scaled.fleet.cluster
    fleet.serve("m", scaled.spec(autoscaling()))
    with scaled.load(requests_per_second=BUSY) as load:
        scaled.wait_wanted(3, 4)
        scaled.wait_ready(scaled.wanted())
        scaled.wait_within_objective(load)
        fleet.wait_condition("m", "ScalingActive", "True")

        half = [pod["metadata"]["name"] for pod in fleet.pods("m")][::2]
        began = now()
        load.set_rate(0)  # giving replicas back would be right now, if only anybody knew
        # By what ScalingActive says; None where it says what it has said before, or says it late.
        troubles: list[tuple[str, str | None, AbstractContextManager[None]]] = [
            ("500", "PrometheusUnavailable", answering(proxy, Trouble.SERVER_ERROR)),
            ("502", None, answering(proxy, Trouble.BAD_GATEWAY)),
            ("no JSON", None, answering(proxy, Trouble.NOT_JSON)),
            ("closed connections", None, answering(proxy, Trouble.CLOSE)),
            ("killed", None, killed(cluster, proxy)),
            ("NaN", "NotANumber", answering(proxy, Trouble.NAN)),
            ("hanging", "PrometheusSlow", answering(proxy, Trouble.HANG)),
            ("401", "PrometheusRejected", answering(proxy, Trouble.UNAUTHORIZED)),
            ("partial", "PartialAnswer", answering(proxy, Trouble.PARTIAL)),
            ("hours late", "StaleSamples", answering(proxy, Trouble.LATE)),
            ("empty", None, answering(proxy, Trouble.EMPTY)),
            ("half of the pods", "ReplicasMissing", unscraped(cluster, proxy, half)),
        ]
        for what, reason, trouble in troubles:
            before = time.monotonic()
            with trouble:
                if reason is not None:
                    condition = fleet.wait_condition("m", "ScalingActive", "False", reason=reason)
                    print(f"{what}: {time.monotonic() - before:.0f} s: {reason}: {condition['message']}")
                time.sleep(max(0.0, TEMPTING_SECONDS - (time.monotonic() - before)))
                assert replicas.lowered(since=began) == [], what
                if trouble is troubles[-1][2]:
                    load.set_rate(BUSY)
                    time.sleep(WINDOWS_SECONDS)

        fleet.wait_condition("m", "ScalingActive", "True")
        # Known again, and as busy as before: what a noisy load may give back is one replica.
        assert all(change.after >= 2 for change in replicas.lowered(since=began))
        load.set_rate(0)
        scaled.wait_wanted(1)
        assert [event["reason"] for event in fleet.events("m")]
        print(*(f"{e['type']} {e['reason']}: {e['message']}" for e in fleet.events("m")), sep="\n")
