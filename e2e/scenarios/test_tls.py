"""TLS on the gRPC port, with a certificate from a Secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from e2e.cluster.certificates import Authority
from e2e.scenarios.fleet import Fleet
from e2e.scenarios.grpc_call import Trust, available_versions
from e2e.scenarios.model_store import ModelStore

SERVER_NAME = "m.example.com"
SERVED = {"versions": [1]}
REFUSED = {"error": "UNAVAILABLE"}


@pytest.fixture
def authority() -> Authority:
    return Authority.create()


def serve_with_tls(fleet: Fleet, store: ModelStore, authority: Authority, directory: Path, **tls: Any) -> Trust:
    """Serve the model ``m`` with a certificate of ``authority``; return what a client must know."""
    certificate, key = authority.sign_server([SERVER_NAME], []).write(directory, "server")
    ca, _ = authority.pair.write(directory, "ca")
    files = (f"--from-file=tls.crt={certificate}", f"--from-file=tls.key={key}", f"--from-file=ca.crt={ca}")
    fleet.kubectl("create", "secret", "generic", "certificate", "--type=kubernetes.io/tls", *files)
    models = [{"name": "m", "source": {"uri": f"{store.url}/good.tar.gz"}}]
    fleet.serve("m", {"models": models, "server": {"tls": {"secretName": "certificate", **tls}}})
    return Trust(ca, SERVER_NAME)


def wait_until_served(fleet: Fleet, trust: Trust) -> str:
    """Return the address once it answers: the node's proxy learns of a new endpoint a moment after it is ready."""
    address = f"{fleet.service_address('m')}:8500"
    fleet.wait(
        "version 1 over TLS",
        lambda: available_versions(fleet.cluster, address, "m", trust) == SERVED,
        timeout_seconds=30,
    )
    return address


def test_grpc_speaks_tls_and_nothing_else(
    fleet: Fleet, store: ModelStore, authority: Authority, tmp_path: Path
) -> None:
    trust = serve_with_tls(fleet, store, authority, tmp_path)
    address = wait_until_served(fleet, trust)
    assert available_versions(fleet.cluster, address, "m") == REFUSED
    assert fleet.predict("m", "m")
    assert fleet.condition("m", "Degraded")["status"] == "False"


def test_clients_without_a_certificate_are_refused_where_one_is_asked_for(
    fleet: Fleet, store: ModelStore, authority: Authority, tmp_path: Path
) -> None:
    nobody = serve_with_tls(fleet, store, authority, tmp_path, clientVerify=True)
    certificate, key = authority.sign_client("somebody").write(tmp_path, "client")
    address = wait_until_served(fleet, Trust(nobody.authority, nobody.server_name, certificate, key))
    assert available_versions(fleet.cluster, address, "m", nobody) == REFUSED
    assert fleet.condition("m", "Degraded")["status"] == "False"
