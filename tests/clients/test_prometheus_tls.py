from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from e2e.cluster.certificates import Authority
from e2e.web_servers import served
from tests.clients.prometheus_rows import NOW
from tfserving_operator.api.refs import ModelKey
from tfserving_operator.autoscaling.signals import PoolSignals, SignalState
from tfserving_operator.clients.prometheus import PrometheusClient, SignalWish
from tfserving_operator.clients.prometheus_endpoint import PrometheusAddresses, PrometheusEndpoint

KEY = ModelKey("ns", "m")


@dataclass(frozen=True)
class Tls:
    url: str
    directory: Path
    authority: Authority

    def client(self, **endpoint: Any) -> PrometheusClient:
        return PrometheusClient(PrometheusAddresses(default=PrometheusEndpoint(url=self.url, **endpoint)))

    def write_ca(self, authority: Authority) -> Path:
        path = self.directory / "ca.crt"
        path.write_bytes(authority.pair.certificate)
        return path


@pytest.fixture
def needs_client_certificate() -> bool:
    return False


@pytest.fixture
async def tls(tmp_path: Path, needs_client_certificate: bool) -> AsyncIterator[Tls]:
    authority = Authority.create()
    certificate, key = authority.sign_server(["prometheus"], ["127.0.0.1"]).write(tmp_path, "server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    if needs_client_certificate:
        context.load_verify_locations(cadata=authority.pair.certificate.decode())
        context.verify_mode = ssl.CERT_REQUIRED
    app = web.Application()
    app.router.add_post("/api/v1/query", _no_rows)
    async with served(app, tls=context) as url:
        yield Tls(url, tmp_path, authority)


async def _no_rows(_: web.Request) -> web.Response:
    return web.json_response({"status": "success", "data": {"resultType": "vector", "result": []}})


async def ask(client: PrometheusClient) -> PoolSignals:
    reading = await client.read_fleet({KEY: SignalWish(edge=None, pools={"gpu": 1})}, now=NOW)
    return reading.signals[KEY, "gpu"]


async def ask_once(client: PrometheusClient) -> PoolSignals:
    try:
        return await ask(client)
    finally:
        await client.close()


async def test_an_authority_of_ones_own_is_trusted_by_its_file(tls: Tls) -> None:
    signals = await ask_once(tls.client(ca_file=tls.write_ca(tls.authority)))
    assert signals.state is SignalState.NOT_YET_REPORTED


async def test_an_unknown_authority_is_not_trusted(tls: Tls) -> None:
    signals = await ask_once(tls.client())
    assert signals.state is SignalState.PROMETHEUS_UNAVAILABLE
    assert "caFile" in signals.message


async def test_any_certificate_is_trusted_only_on_demand(tls: Tls) -> None:
    signals = await ask_once(tls.client(insecure_skip_verify=True))
    assert signals.state is SignalState.NOT_YET_REPORTED


async def test_an_authority_that_changes_is_read_again(tls: Tls) -> None:
    client = tls.client(ca_file=tls.write_ca(Authority.create()))
    before = await ask(client)
    tls.write_ca(tls.authority)
    after = await ask_once(client)
    assert (before.state, after.state) == (SignalState.PROMETHEUS_UNAVAILABLE, SignalState.NOT_YET_REPORTED)


@pytest.mark.parametrize("write", [lambda path: None, lambda path: path.write_text("no certificate")])
async def test_a_file_that_cannot_be_used_is_named(tls: Tls, write: Callable[[Path], Any]) -> None:
    path = tls.directory / "broken.crt"
    write(path)
    signals = await ask_once(tls.client(ca_file=path))
    assert signals.state is SignalState.PROMETHEUS_REJECTED
    assert str(path) in signals.message


@pytest.mark.parametrize("needs_client_certificate", [True])
async def test_a_client_certificate_opens_the_door(tls: Tls) -> None:
    certificate, key = tls.authority.sign_client("operator").write(tls.directory, "client")
    ca_file = tls.write_ca(tls.authority)

    without = await ask_once(tls.client(ca_file=ca_file))
    with_it = await ask_once(tls.client(ca_file=ca_file, client_certificate_file=certificate, client_key_file=key))

    assert (without.state, with_it.state) == (SignalState.PROMETHEUS_UNAVAILABLE, SignalState.NOT_YET_REPORTED)
