"""One cluster for all scenarios of autoscaling; the operator reads Prometheus through a proxy that can misbehave."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

from e2e.cluster import Cluster, ClusterOptions
from e2e.modelserver.knobs import Behaviour
from e2e.modelserver.model_writer import write_light_model
from e2e.scenarios.autoscaling.scaled import SERVICE_SECONDS, Scaled
from e2e.scenarios.faulty_prometheus import FaultyPrometheus, faulty_prometheus
from e2e.scenarios.fleet import Fleet
from e2e.scenarios.model_store import ModelStore, model_store
from e2e.scenarios.platform import PROJECT, Platform, build_model_server, install_operator
from e2e.scenarios.prometheus_answers import Trouble
from e2e.scenarios.replica_watch import ReplicaWatch, watched_replicas

SCRAPE_SECONDS = 1


@pytest.fixture(scope="package")
def bare_cluster() -> Iterator[Cluster]:
    """A node with a GPU, and a Prometheus that scrapes every second."""
    options = ClusterOptions(nodes=1, gpus_per_node=1, crds=(PROJECT / "crds",), prometheus=True)
    with Cluster.start(options) as cluster:
        scrape_every_second(cluster)
        yield cluster


def scrape_every_second(cluster: Cluster) -> None:
    config = yaml.safe_load((cluster.directory / "prometheus.yaml").read_text())
    config["global"]["scrape_interval"] = f"{SCRAPE_SECONDS}s"
    cluster.prometheus.configure(yaml.safe_dump(config))


@pytest.fixture(scope="package")
def prometheus_proxy(bare_cluster: Cluster) -> Iterator[FaultyPrometheus]:
    with faulty_prometheus(bare_cluster.prometheus.url, bare_cluster.host_address) as proxy:
        yield proxy


@pytest.fixture(scope="package")
def platform(bare_cluster: Cluster, prometheus_proxy: FaultyPrometheus) -> Iterator[Platform]:
    # Always the stand-in: with --server-image, these scenarios take no part.
    image = build_model_server(bare_cluster)
    install_operator(bare_cluster, "log.level=debug", f"prometheus.url={prometheus_proxy.url}")
    yield Platform(bare_cluster, image)


@pytest.fixture(scope="package")
def store(bare_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelStore]:
    """A model that takes 40 ms on its one device, without any work for the CPU."""
    directory = tmp_path_factory.mktemp("store")
    with model_store(directory, bare_cluster.host_address) as store:
        models = tmp_path_factory.mktemp("models")
        write_light_model(models, 1, behaviour=Behaviour(cost_micros=(SERVICE_SECONDS * 1e6,), devices=1))
        store.archive("slow", models)
        yield store


@pytest.fixture
def proxy(prometheus_proxy: FaultyPrometheus) -> Iterator[FaultyPrometheus]:
    """The proxy, which is well again afterwards."""
    yield prometheus_proxy
    prometheus_proxy.be(Trouble.NONE)


@pytest.fixture
def fleet(platform: Platform, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """A namespace whose pods are gone when the next test wants the CPUs."""
    fleet = platform.new_fleet(request.node.name)
    yield fleet
    fleet.kubectl("delete", "servedmodels", "--all")
    fleet.kubectl("delete", "pods", "--all", "--grace-period=0", "--force")
    platform.cluster.kubectl("delete", "namespace", fleet.namespace, "--wait=false")


@pytest.fixture
def scaled(fleet: Fleet, store: ModelStore) -> Scaled:
    return Scaled(fleet, f"{store.url}/slow.tar.gz")


@pytest.fixture
def replicas(fleet: Fleet) -> Iterator[ReplicaWatch]:
    """All that happens to the namespace's Deployments."""
    with watched_replicas(fleet) as watch:
        yield watch
