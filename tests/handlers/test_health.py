"""Health: what the kubelet is told, over real HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from tfserving_operator.handlers.health import Health
from tfserving_operator.handlers.probes import serve_probes

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class FakeQueue:
    seconds: float = 0.0

    def stuck_seconds(self, now: float) -> float:
        return self.seconds


@dataclass
class FakeCache:
    is_synced: bool = True
    acted_at: datetime | None = NOW


def health_of(queue: FakeQueue | None = None, cache: FakeCache | None = None) -> Health:
    health = Health(clock=lambda: NOW, monotonic=lambda: 0.0)
    if queue or cache:
        health.watch(queue=queue or FakeQueue(), cache=cache or FakeCache())
    return health


@pytest.mark.parametrize(
    ("health", "is_alive", "is_ready"),
    [
        pytest.param(health_of(), True, False, id="CRD not installed yet"),
        pytest.param(health_of(FakeQueue(), FakeCache()), True, True, id="all well"),
        pytest.param(health_of(FakeQueue(), FakeCache(is_synced=False, acted_at=None)), True, False, id="first list"),
        pytest.param(health_of(FakeQueue(299.0)), True, True, id="long work"),
        pytest.param(
            health_of(FakeQueue(900.0), FakeCache(is_synced=False, acted_at=NOW)), True, False, id="a list is refused"
        ),
        pytest.param(health_of(FakeQueue(301.0)), False, True, id="workers stuck"),
        pytest.param(health_of(cache=FakeCache(acted_at=NOW - timedelta(minutes=9))), True, True, id="quiet watch"),
        pytest.param(health_of(cache=FakeCache(acted_at=NOW - timedelta(minutes=11))), False, True, id="dead watch"),
    ],
)
def test_alive_unless_only_a_restart_helps_and_ready_once_synced(
    health: Health, is_alive: bool, is_ready: bool
) -> None:
    assert (not health.faults(), not health.not_ready()) == (is_alive, is_ready)


@pytest.mark.parametrize(
    ("health", "path", "status", "text"),
    [
        pytest.param(health_of(FakeQueue(), FakeCache()), "/healthz", 200, "ok\n", id="alive"),
        pytest.param(health_of(FakeQueue(400.0)), "/healthz", 500, "no worker takes it", id="stuck"),
        pytest.param(health_of(FakeQueue(), FakeCache()), "/readyz", 200, "ok\n", id="ready"),
        pytest.param(health_of(), "/readyz", 503, "CRD", id="not ready"),
    ],
)
async def test_probe_answers_with_status_and_reason(health: Health, path: str, status: int, text: str) -> None:
    async with (
        serve_probes(health, health_port=0, metrics_port=0) as (health_port, _),
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{health_port}{path}") as response,
    ):
        assert response.status == status
        assert text in await response.text()


async def test_metrics_have_a_port_of_their_own() -> None:
    async with (
        serve_probes(health_of(), health_port=0, metrics_port=0) as (_, metrics_port),
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{metrics_port}/metrics") as response,
    ):
        assert "tfserving_operator_build_info" in await response.text()
