"""Fixtures of the scenarios: one cluster with the operator for all of them, a namespace for each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.cluster import Cluster, ClusterOptions
from e2e.modelserver.knobs import Behaviour
from e2e.modelserver.model_writer import write_light_model
from e2e.scenarios.fleet import Fleet
from e2e.scenarios.model_store import CORRUPT, ModelStore, model_store
from e2e.scenarios.platform import PROJECT, Platform, install_operator, provide_model_server

HERE = Path(__file__).parent
STAND_IN_ONLY = {
    HERE / "autoscaling": "what a request costs has to be known, and cost nothing of the CPU",
    HERE / "test_real_models.py": "it is about the stand-in itself",
}
"""What takes no part when ``--server-image`` asks for another server, and why."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what can only be asked of the stand-in, when it is another server that is asked."""
    if config.getoption("--server-image") is None:
        return
    left_out = [item for item in items if why_left_out(item)]
    items[:] = [item for item in items if not why_left_out(item)]
    config.hook.pytest_deselected(items=left_out)
    if left_out and not items:
        raise pytest.UsageError(
            "no test is left for --server-image: these run the stand-in whatever it says. "
            + "; ".join(f"{place.relative_to(HERE)}: {reason}" for place, reason in STAND_IN_ONLY.items())
        )


def why_left_out(item: pytest.Item) -> str | None:
    return next((reason for place, reason in STAND_IN_ONLY.items() if item.path.is_relative_to(place)), None)


@pytest.fixture(scope="session")
def platform(request: pytest.FixtureRequest) -> Iterator[Platform]:
    """A one-node cluster with the operator installed from its chart."""
    options = ClusterOptions(nodes=1, crds=(PROJECT / "crds",), node_grace_seconds=50)
    with Cluster.start(options) as cluster:
        image = provide_model_server(cluster, request.config.getoption("--server-image"))
        install_operator(cluster, "log.level=debug")
        yield Platform(cluster, image)


@pytest.fixture
def fleet(platform: Platform, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """A namespace of the test's own."""
    fleet = platform.new_fleet(request.node.name)
    yield fleet
    platform.cluster.kubectl("delete", "namespace", fleet.namespace, "--wait=false")


@pytest.fixture(scope="session")
def store(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelStore]:
    """A web server that pods reach, with the models of ``write_models``."""
    directory = tmp_path_factory.mktemp("store")
    with model_store(directory, platform.cluster.host_address) as store:
        write_models(store, tmp_path_factory.mktemp("models"))
        yield store


def write_models(store: ModelStore, directory: Path) -> None:
    """Put models into the store: one for each way in which they can be good or bad."""
    models = {
        "good": {1: Behaviour(fill_value=1.0)},
        "two": {1: Behaviour(fill_value=1.0), 2: Behaviour(fill_value=2.0)},
        "corrupt": {1: Behaviour(fail_load=CORRUPT)},
        "huge": {1: Behaviour(load_memory_bytes=600 * 2**20)},
        "bulky": {1: Behaviour(fill_value=1.0)},
    }
    for name, versions in models.items():
        for version, behaviour in versions.items():
            path = write_light_model(directory / name, version, behaviour=behaviour)
            if name == "bulky":
                (path / "assets.extra" / "ballast").write_bytes(os.urandom(3 * 2**20))
        store.archive(name, directory / name)
