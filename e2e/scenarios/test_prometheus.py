"""What the operator's client makes of a real Prometheus: numbers, and each state told from the others."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from e2e.scenarios.fleet import Fleet
from e2e.scenarios.model_store import ModelStore
from e2e.scenarios.platform import Platform
from e2e.scenarios.scripted_prometheus import ScriptedPrometheus, ServerPage, Target, scripted_prometheus
from tfserving_operator.api.refs import ModelKey
from tfserving_operator.autoscaling.buckets import snap_objective
from tfserving_operator.autoscaling.signals import PoolSignals, SignalState
from tfserving_operator.clients.prometheus import PrometheusClient, PrometheusOptions, SignalWish
from tfserving_operator.clients.prometheus_endpoint import PrometheusAddresses, PrometheusEndpoint
from tfserving_operator.clients.prometheus_signals import ReadingRules

KEY = ModelKey("ns", "m")
EDGE = snap_objective(50_000)
PATIENCE_SECONDS = 4.0
HOSTILE = '"} or vector(1) or up{x="\\\n'


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScriptedPrometheus]:
    with scripted_prometheus(tmp_path_factory.mktemp("prometheus")) as prometheus:
        yield prometheus


@dataclass
class Pool:
    """A pool of the test's own, so that it has no past."""

    name: str
    client: PrometheusClient
    prometheus: ScriptedPrometheus

    def target(self, pod: str, page: ServerPage | None = None, *, job: str = "pods", **labels: str) -> Target:
        return Target(self.name, pod, page or ServerPage(), job, labels)

    async def read(self, ready: int) -> PoolSignals:
        reading = await self.client.read_fleet(
            {KEY: SignalWish(edge=EDGE, pools={self.name: ready})}, now=datetime.now(UTC)
        )
        return reading.signals[KEY, self.name]

    async def until(
        self, ready: int, reached: Callable[[PoolSignals], bool], *, timeout_seconds: float = 15
    ) -> list[PoolSignals]:
        """Read until something is so; return all that was seen, the last one being so."""
        seen: list[PoolSignals] = []
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            seen.append(await self.read(ready))
            if reached(seen[-1]):
                return seen
            await asyncio.sleep(0.1)
        raise AssertionError(f"not within {timeout_seconds} s, last: {seen[-1]}")

    async def until_state(self, state: SignalState, ready: int = 1, *, words: str = "") -> list[PoolSignals]:
        return await self.until(ready, lambda signals: signals.state is state and words in signals.message)


_numbers = itertools.count()


@pytest.fixture
async def pool(prometheus: ScriptedPrometheus) -> AsyncIterator[Pool]:
    client = client_of(prometheus.url)
    yield Pool(f"pool-{next(_numbers)}", client, prometheus)
    await client.close()


def client_of(url: str, *, timeout_seconds: float = 1.5, **endpoint: object) -> PrometheusClient:
    rules = ReadingRules(scrape_interval_seconds=1, max_sample_age_seconds=PATIENCE_SECONDS)
    addresses = PrometheusAddresses.model_validate({"default": {"url": url, **endpoint}})
    return PrometheusClient(addresses, PrometheusOptions(rules=rules, timeout_seconds=timeout_seconds))


async def test_a_replica_is_awaited_then_idle_then_busy(pool: Pool) -> None:
    page = ServerPage()
    pool.prometheus.scrape([pool.target("a", page)])

    awaited = await pool.until_state(SignalState.NO_TRAFFIC)
    page.per_scrape, page.good_of_ten = 100, 8
    busy = await pool.until(1, lambda signals: signals.requests_per_second > 0 and signals.concurrency is not None)

    assert awaited[0].state is SignalState.NOT_YET_REPORTED
    assert not any(signals.state.may_scale_down for signals in awaited[:-1])
    assert busy[-1].state is SignalState.MEASURED
    assert busy[-1].requests_per_second == pytest.approx(100, rel=0.3)
    assert busy[-1].good_share == pytest.approx(0.8)
    assert busy[-1].window_seconds == pytest.approx(1, abs=0.3)


async def test_the_first_requests_of_a_replica_show_with_the_first_scrape_and_once(pool: Pool) -> None:
    page = ServerPage()
    pool.prometheus.scrape([pool.target("a", page)])
    await pool.until_state(SignalState.NO_TRAFFIC)

    page.answered, page.errors = 30, {"UNAVAILABLE": 10, "NOT_FOUND": 5}
    first = (await pool.until(1, lambda signals: signals.requests_per_second > 0))[-1]
    after = (await pool.until(1, lambda signals: signals.requests_per_second == 0))[-1]

    assert first.state is SignalState.MEASURED
    assert first.requests_per_second == pytest.approx(40, rel=0.3)
    assert first.errors_per_second == {
        "UNAVAILABLE": pytest.approx(10, rel=0.3),
        "NOT_FOUND": pytest.approx(5, rel=0.3),
    }
    assert after.state is SignalState.NO_TRAFFIC


async def test_a_counter_that_was_already_high_is_no_surge(pool: Pool) -> None:
    """As after a Prometheus that is new, or a target that was found late."""
    pool.prometheus.scrape([pool.target("a", ServerPage(per_scrape=10, answered=1_000_000))])
    seen = await pool.until_state(SignalState.MEASURED)
    assert max(signals.requests_per_second for signals in seen) < 20


async def test_a_restarted_server_is_no_surge(pool: Pool) -> None:
    page = ServerPage(per_scrape=10, answered=1_000)
    pool.prometheus.scrape([pool.target("a", page)])
    await pool.until_state(SignalState.MEASURED)

    page.answered = 3
    seen = await pool.until(1, lambda s: s.requests_per_second < 6)

    assert all(0 <= signals.requests_per_second < 20 for signals in seen)


async def test_a_pod_that_vanished_does_not_count_on(pool: Pool) -> None:
    stays, goes = (pool.target(pod, ServerPage(per_scrape=10, answered=1)) for pod in ("a", "b"))
    pool.prometheus.scrape([stays, goes])
    both = (await pool.until(2, lambda s: s.state is SignalState.MEASURED and s.replicas_covered == 2))[-1]

    pool.prometheus.scrape([stays])
    alone = (await pool.until(1, lambda s: s.replicas_covered == 1, timeout_seconds=10))[-1]

    assert both.requests_per_second == pytest.approx(20, rel=0.3)
    assert alone.state is SignalState.MEASURED
    assert alone.requests_per_second == pytest.approx(10, rel=0.3)


async def test_a_lost_scrape_is_not_a_lack_of_traffic(pool: Pool) -> None:
    pages = {pod: ServerPage() for pod in "ab"}
    pool.prometheus.scrape([pool.target(pod, page) for pod, page in pages.items()])
    await pool.until_state(SignalState.NO_TRAFFIC, 2)

    pages["b"].status = 500

    await pool.until_state(SignalState.REPLICAS_MISSING, 2, words="b: its last scrape failed")


async def test_half_the_pods_are_not_all(pool: Pool) -> None:
    pool.prometheus.scrape([pool.target("a", ServerPage(per_scrape=10))])
    seen = await pool.until_state(SignalState.REPLICAS_MISSING, 2)
    assert all(not signals.state.may_scale_down for signals in seen)


@pytest.mark.parametrize(
    "labels",
    [{"tfserving_dev_pool": ""}, {"tfserving_dev_servedmodel": "other"}, {"namespace": "other"}],
    ids=["no pool", "other model", "other namespace"],
)
async def test_targets_without_the_labels_are_not_seen(pool: Pool, labels: dict[str, str]) -> None:
    pool.prometheus.scrape([pool.target("a", ServerPage(per_scrape=10), **labels)])
    seen = await pool.until_state(SignalState.REPLICAS_MISSING, words="no target with the labels of this pool")
    assert all(not signals.state.may_scale_down for signals in seen)


@pytest.mark.parametrize(
    "dropped",
    [
        {"metric_relabel_configs": [{"source_labels": ["__name__"], "regex": ".*_bucket", "action": "drop"}]},
        {"convert_classic_histograms_to_nhcb": True},
    ],
    ids=["dropped", "native"],
)
async def test_without_buckets_a_busy_server_is_not_taken_for_idle(pool: Pool, dropped: dict[str, object]) -> None:
    pool.prometheus.scrape([pool.target("a", ServerPage(per_scrape=10))], **dropped)
    seen = await pool.until_state(SignalState.REPLICAS_MISSING, words="a: scraped without")
    assert all(not signals.state.may_scale_down for signals in seen)


async def test_pods_that_two_jobs_scrape_count_once(pool: Pool) -> None:
    page = ServerPage(per_scrape=10, answered=1)
    pool.prometheus.scrape([pool.target("a", page, job=job) for job in ("pods", "again")])
    seen = await pool.until(1, lambda s: s.state is SignalState.MEASURED and s.window_seconds < 2)
    # Both jobs make the page go on, so each of them sees twice as many.
    assert seen[-1].requests_per_second == pytest.approx(20, rel=0.4)


async def test_a_number_that_is_none_is_named(pool: Pool) -> None:
    page = ServerPage(
        more=':tensorflow:serving:request_count{model_name="m",status="INTERNAL"} NaN',
    )
    pool.prometheus.scrape([pool.target("a", page)])
    await pool.until_state(SignalState.NOT_A_NUMBER)


async def test_batches_are_measured(pool: Pool) -> None:
    page = ServerPage(more=lambda scrapes: batching(100 * scrapes))
    pool.prometheus.scrape([pool.target("a", page)])

    # The two are asked for in turns.
    signals = (await pool.until(1, lambda s: s.batch_size is not None and s.queue_seconds is not None))[-1]

    assert signals.batch_size == pytest.approx(5.5)
    assert signals.queue_seconds == pytest.approx(0.0016, rel=0.05)


def batching(count: int) -> str:
    """So many batches of 4 to 7 examples, as many requests that waited between 0.9 and 2.7 ms."""
    queue, size = (
        f":tensorflow:serving:batching_session:{name}_bucket" for name in ("queuing_latency", "processed_batch_size")
    )
    waits = (*(f"{100 * 1.2**n:.6g}" for n in range(52)), "+Inf")
    sizes = (*(str(2**n) for n in range(14)), "+Inf")
    lines = [f'{queue}{{thread_pool_name="",le="{le}"}} {count if float(le) > 2000 else 0}' for le in waits]
    return "\n".join([*lines, *(f'{size}{{le="{le}"}} {count if float(le) > 4 else 0}' for le in sizes)])


async def test_samples_that_are_too_old_are_stale(pool: Pool) -> None:
    """A Prometheus that starts again and no longer finds the pod leaves its last samples as they are."""
    pool.prometheus.scrape([pool.target("a", ServerPage(per_scrape=10))])
    await pool.until_state(SignalState.MEASURED)

    pool.prometheus.kill()
    pool.prometheus.start(keep_targets=False)

    await pool.until_state(SignalState.STALE, words="s old and 4 s are allowed")


async def test_a_dead_prometheus_is_unavailable_and_comes_back(pool: Pool) -> None:
    pool.prometheus.scrape([pool.target("a", ServerPage(per_scrape=10))])
    await pool.until_state(SignalState.MEASURED)

    pool.prometheus.kill()
    down = await pool.read(1)
    pool.prometheus.start()
    back = await pool.until_state(SignalState.MEASURED)

    assert down.state is SignalState.PROMETHEUS_UNAVAILABLE
    assert SignalState.NO_TRAFFIC not in {signals.state for signals in back}
    assert max(signals.requests_per_second for signals in back) < 30


async def test_a_hanging_prometheus_is_slow(pool: Pool) -> None:
    pool.prometheus.scrape([pool.target("a")])
    with pool.prometheus.paused():
        signals = await pool.read(1)
    assert signals.state is SignalState.PROMETHEUS_SLOW


async def test_a_wrong_path_is_rejected(pool: Pool) -> None:
    client = client_of(f"{pool.prometheus.url}/not/here")
    signals = await Pool(pool.name, client, pool.prometheus).read(1)
    await client.close()
    assert signals.state is SignalState.PROMETHEUS_REJECTED
    assert "check the path" in signals.message


async def test_hostile_values_are_values_to_prometheus(pool: Pool) -> None:
    """It understands the query and finds nothing: neither an error nor somebody else's series."""
    pool.prometheus.scrape([pool.target("a", ServerPage(per_scrape=10))])
    await pool.until_state(SignalState.MEASURED)
    client = PrometheusClient(
        PrometheusAddresses(
            namespaces={
                "ns": PrometheusEndpoint(url=pool.prometheus.url, matchers={"pod": HOSTILE}),
                HOSTILE: PrometheusEndpoint(url=pool.prometheus.url),
            }
        )
    )
    hostile = ModelKey(HOSTILE, HOSTILE)

    wishes = {key: SignalWish(edge=EDGE, pools={pool.name: 1}) for key in (KEY, hostile)}
    reading = await client.read_fleet(wishes, now=datetime.now(UTC))
    await client.close()

    assert {signals.state for signals in reading.signals.values()} == {SignalState.NOT_YET_REPORTED}


async def test_replicas_of_a_cluster_are_found_idle_then_busy(
    platform: Platform, fleet: Fleet, store: ModelStore
) -> None:
    """The annotations of the operator's pods, the customary scrape configuration, and the pages of the stand-in."""
    platform.cluster.prometheus.start()
    source = {"uri": f"{store.url}/good.tar.gz"}
    fleet.serve("m", {"models": [{"name": "m", "source": source}], "replicas": 2})
    pods = frozenset(pod["metadata"]["name"] for pod in fleet.pods("m"))
    client = client_of(platform.cluster.prometheus.url, timeout_seconds=5)
    wish = SignalWish(edge=EDGE, pools={"default": 2}, ready_pods={"default": pods})

    async def until(state: SignalState) -> PoolSignals:
        deadline = time.monotonic() + 60
        while True:
            key = ModelKey(fleet.namespace, "m")
            reading = await client.read_fleet({key: wish}, now=datetime.now(UTC))
            signals = reading.signals[key, "default"]
            if signals.state is state:
                return signals
            assert time.monotonic() < deadline, signals
            await asyncio.sleep(0.2)

    idle = await until(SignalState.NO_TRAFFIC)
    with fleet.keeps_serving("m", "m"):
        busy = await until(SignalState.MEASURED)
    await client.close()

    assert (idle.replicas_covered, busy.replicas_covered) == (2, 2)
    assert busy.requests_per_second > 0
    assert busy.errors_per_second == {}
