"""What a policy sees of a simulated fleet: no more than the operator would."""

from __future__ import annotations

import numpy as np
import pytest

from tests.simulation.scenes import TICK_SECONDS, Script, pool_world, start_up, steady, trace, world
from tfserving_operator.autoscaling.buckets import EDGES, EDGES_MICROS, snap_objective
from tfserving_operator.autoscaling.observation import PoolObservation
from tfserving_operator.autoscaling.signals import SignalState
from tfserving_operator.clients import prometheus
from tfserving_operator.settings import Settings
from tfserving_operator.simulation.engine import Moment, replay
from tfserving_operator.simulation.kernel.layout import LATENCY_EDGES_SECONDS, Seen
from tfserving_operator.simulation.scenario import Scraping
from tfserving_operator.simulation.sight import observation_of
from tfserving_operator.simulation.trace import Trace
from tfserving_operator.simulation.world import World


def watched(
    load: Trace, it: World, *, replicas: int = 2, by_tick: dict[int, dict[str, int]] | None = None
) -> list[PoolObservation]:
    """Return the first pool as it was seen at each tick."""
    seen: list[PoolObservation] = []

    def look(moment: Moment) -> None:
        seen.append(observation_of(moment, it).pools[0])

    replay(load, it, Script(by_tick or {}, look=look), initial={"cpu": replicas})
    return seen


def test_buckets_are_those_of_the_server() -> None:
    assert LATENCY_EDGES_SECONDS[:-1] * 1e6 == pytest.approx(EDGES_MICROS)


def test_replicas_are_not_yet_reported_for_two_scrapes_and_then_measured() -> None:
    seen = watched(steady(50, 200), world())
    states = [pool.signals.state for pool in seen]
    assert states[0] is SignalState.NOT_YET_REPORTED
    first = states.index(SignalState.MEASURED)
    assert 15 / TICK_SECONDS <= first <= 32 / TICK_SECONDS
    assert set(states[first:]) == {SignalState.MEASURED}


def test_the_rate_is_that_between_the_two_newest_scrapes() -> None:
    seen = watched(steady(60, 1200), world())[30:]
    rates = [pool.signals.requests_per_second for pool in seen]
    assert np.mean(rates) == pytest.approx(60, rel=0.05)
    assert [pool.signals.window_seconds for pool in seen] == pytest.approx([15.0] * len(seen))
    assert {pool.signals.replicas_covered for pool in seen} == {2}


def test_a_step_of_the_load_shows_no_sooner_than_a_scrape_returns_it() -> None:
    it = world(scraping=Scraping(interval_seconds=10, delay_seconds=6))
    seen = watched(trace({0: 5, 300: 5, 300.1: 500, 600: 500}), it, replicas=10)
    rates = np.array([pool.signals.requests_per_second for pool in seen])
    after = np.argmax(rates > 20) * TICK_SECONDS + TICK_SECONDS - 300
    full = np.argmax(rates > 450) * TICK_SECONDS + TICK_SECONDS - 300
    assert 6 <= after <= 10
    assert 16 <= full <= 30


def test_no_traffic_is_a_state_of_its_own() -> None:
    seen = watched(steady(0, 200), world())
    assert seen[-1].signals.state is SignalState.NO_TRAFFIC
    assert seen[-1].signals.good_share is None


def test_without_a_ready_replica_there_is_nothing_to_measure() -> None:
    assert watched(steady(10, 100), world(), replicas=0)[-1].signals.state is SignalState.NO_REPLICAS


def test_a_lost_scrape_leaves_its_replica_unmeasured_until_the_next() -> None:
    seen = watched(steady(50, 4000), world(scraping=Scraping(loss_probability=0.1)), replicas=1)[30:]
    missing = [pool for pool in seen if pool.signals.state is SignalState.REPLICAS_MISSING]
    assert len(missing) / len(seen) == pytest.approx(0.1, abs=0.05)
    assert {pool.signals.replicas_covered for pool in missing} == {0}
    assert not any(pool.signals.state.may_scale_down for pool in missing)


def test_scrapes_that_hardly_ever_succeed_leave_nothing_to_see() -> None:
    seen = watched(steady(50, 1000), world(scraping=Scraping(loss_probability=0.999)))
    assert seen[-1].signals.state is SignalState.REPLICAS_MISSING
    assert seen[-1].signals.requests_per_second == 0
    assert seen[-1].signals.at is None


def test_samples_that_come_too_late_are_stale() -> None:
    it = world(scraping=Scraping(interval_seconds=5, delay_seconds=29))
    states = {pool.signals.state for pool in watched(steady(50, 300), it)[60:]}
    assert SignalState.STALE in states


def test_a_new_replica_is_missing_from_what_is_seen_until_it_was_scraped_twice() -> None:
    seen = watched(steady(50, 300), world(), by_tick={50: {"cpu": 3}})
    began = next(index for index, pool in enumerate(seen) if pool.ready == 3)
    assert seen[began].signals.state is SignalState.NOT_YET_REPORTED
    assert seen[began].signals.replicas_covered == 2
    assert seen[-1].signals.replicas_covered == 3


def test_the_share_is_that_at_the_bucket_edges_around_the_objective() -> None:
    edge = snap_objective(50_000)
    above = EDGES[EDGES.index(edge) + 1]
    it = world(objective_seconds=0.05, good_edge_seconds=edge.micros / 1e6)
    signals = [pool.signals for pool in watched(steady(80, 3000), it, replicas=1)[30:]]
    requests = np.mean([each.requests_per_second for each in signals])
    good = np.mean([each.good_per_second for each in signals])
    good_above = np.mean([each.good_above_per_second or 0.0 for each in signals])
    truth = replay(steady(80, 3000), it, Script(), initial={"cpu": 1})
    assert it.next_edge_seconds == pytest.approx(above.micros / 1e6)
    assert good / requests < truth.share_within_objective < good_above / requests


def test_a_refused_request_is_an_error_of_overload() -> None:
    signals = watched(steady(250, 300), world(timeout_seconds=0.2), replicas=1)[-1].signals
    assert set(signals.errors_per_second) == {"DEADLINE_EXCEEDED", "UNAVAILABLE"}


def test_start_up_is_the_median_of_the_newest_replicas() -> None:
    pool = pool_world(start_up=start_up(12, model_load=18))
    seen = watched(steady(10, 200), world(pool), by_tick={10: {"cpu": 4}})
    assert seen[0].start_up_seconds == pytest.approx(30)
    assert seen[-1].start_up_seconds == pytest.approx(30, abs=TICK_SECONDS)
    assert watched(steady(10, 20), world(pool), replicas=0)[-1].start_up_seconds is None


def test_replicas_that_ended_are_nobody_s_load() -> None:
    it = world(drain_seconds=4.0, scraping=Scraping(interval_seconds=5))
    script = Script({100: {"cpu": 1}})
    replay(steady(40, 400), it, script, initial={"cpu": 4})
    assert script.column(Seen.MEASURED)[-1] == 1
    assert script.column(Seen.PAID)[-1] == 1


@pytest.mark.parametrize("interval_seconds", [1.0, 5.0, 10.0, 15.0, 30.0, 60.0])
def test_ages_are_those_that_the_operator_allows(interval_seconds: float) -> None:
    settings = Settings(prometheus_url="http://prometheus:9090", prometheus_scrape_interval_seconds=interval_seconds)
    rules = prometheus.PrometheusClient.configured(settings)._options.rules
    it = world(scraping=Scraping(interval_seconds=interval_seconds))
    assert it.max_sample_age_seconds == rules.max_sample_age_seconds
    assert it.lookback_seconds == prometheus._lookback_seconds(interval_seconds)
