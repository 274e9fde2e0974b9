"""Replicas follow the load, and say why."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from e2e.load import RunningLoad
from e2e.scenarios.autoscaling.scaled import EDGE, IN_SIGHT, PERCENT, Scaled, autoscaling, now
from e2e.scenarios.platform import OPERATOR_USER
from e2e.scenarios.replica_watch import ReplicaWatch
from e2e.scenarios.scrapes import failed_scrapes, first_breach, scrape_intervals

CALM, SURGE = 8, 60
"""Requests a second: what one replica carries easily, and what two cannot answer."""
JAM = 160
"""Requests in flight at most: a scrape that waits behind so many takes some six times as long as it may."""
KNOWN_AFTER_SECONDS = 3
REACTION = timedelta(seconds=10)
"""A scrape and a tick are 3 s at most; the rest is for a machine that is busy."""
LEARNING_SECONDS = 8.0
"""Some whole windows in which all replicas share the surge: only these teach what one carries, and so that one is
enough for calm."""


def first_patch(scaled: Scaled, deployment: str, since: datetime) -> datetime:
    """Return when the operator first wrote a Deployment."""
    written = scaled.fleet.cluster.audit_events(user=OPERATOR_USER, verb="patch", resource="deployments", since=since)
    return next(e.timestamp for e in written if (e.namespace, e.name) == (scaled.fleet.namespace, deployment))


def breach_seen(scaled: Scaled, since: datetime) -> datetime:
    """Return the time of the first scrape that showed fewer requests within the objective than promised."""
    intervals = scrape_intervals(scaled.fleet.cluster.prometheus, scaled.fleet.namespace, EDGE.le, last_seconds=120)
    found = first_breach(intervals, percent=PERCENT, since=since)
    assert found is not None, f"no scrape showed a breach: {intervals}"
    return found


def describe(load: RunningLoad, seconds: float) -> str:
    summary = load.recent(seconds)
    return f"{summary.share_within(EDGE.micros):.1%} of {summary.ok + summary.failed} within {EDGE}"


def test_overload_brings_replicas_and_calm_takes_them_back(scaled: Scaled, replicas: ReplicaWatch) -> None:
    with under_calm_load(scaled, max_in_flight=IN_SIGHT) as load:
        surge = now()
        load.set_rate(SURGE)
        scaled.wait_wanted(3, 4)
        scaled.wait_ready(3)
        ready = now()
        scaled.wait_within_objective(load)
        back = now()
        breach, patched = breach_seen(scaled, surge), first_patch(scaled, "m-default", surge)
        print(
            f"surge; first scrape with a breach after {(breach - surge).total_seconds():.1f} s; Deployment patched "
            f"{(patched - breach).total_seconds():+.1f} s from there; 3 ready {(ready - patched).total_seconds():.1f} "
            f"s later; objective kept for 5 s {(back - ready).total_seconds():.1f} s later ({describe(load, 5)})"
        )
        assert patched - breach < REACTION
        scaled.wait_ready(scaled.wanted())
        time.sleep(LEARNING_SECONDS)

        calm = now()
        load.set_rate(CALM)
        # A machine that hiccups makes requests late at little load too, which a replica then lives down.
        scaled.wait_wanted(1, timeout_seconds=180)
        last = replicas.of("m-default")[-1]
        print(f"calm; down to 1 after {(last.at - calm).total_seconds():.1f} s: {list(map(str, replicas.changes))}")
        scaled.wait_within_objective(load)
    assert not replicas.lowered(since=surge) or replicas.lowered(since=surge)[0].at > calm
    assert OPERATOR_USER not in scaled.spec_writers()
    tell_why(scaled)


def test_replicas_too_busy_to_be_scraped_get_help(scaled: Scaled, replicas: ReplicaWatch) -> None:
    """A scrape waits for a thread behind all requests, until none is answered in time any more."""
    with under_calm_load(scaled, max_in_flight=JAM) as load:
        surge = now()
        load.set_rate(2 * SURGE)
        scaled.wait_wanted(2, 4)
        scaled.wait_ready(2)
        failed = failed_scrapes(scaled.fleet.cluster.prometheus, scaled.fleet.namespace, since=surge)
        patched = first_patch(scaled, "m-default", surge)
        print(
            f"jam; Deployment patched {(patched - surge).total_seconds():.1f} s after it began; {len(failed)} scrapes "
            f"failed, the first {(min(failed) - surge).total_seconds():.1f} s after it began"
        )
        # Two scrapes that fail are waited for.
        assert patched - surge < 2 * REACTION
    assert not replicas.lowered(since=surge)
    tell_decisions(scaled)


@contextmanager
def under_calm_load(scaled: Scaled, **settings: Any) -> Iterator[RunningLoad]:
    """Send what one replica carries easily to a model that was just put in care of autoscaling."""
    fleet = scaled.fleet
    fleet.serve("m", scaled.spec(autoscaling("Off")))
    with scaled.load(requests_per_second=CALM, **settings) as load:
        scaled.wait_within_objective(load)
        # From here on: a load that begins under its eyes is one that jumps, which autoscaling remembers for long.
        scaled.set_mode("Auto")
        fleet.wait_condition("m", "ScalingActive", "True")
        # Two looks at two scrapes tell the operator how far apart scrapes are; until then its settings say 15 s.
        time.sleep(KNOWN_AFTER_SECONDS)
        scaled.wait_within_objective(load)
        scaled.wait_wanted(1, timeout_seconds=180)
        yield load


def tell_decisions(scaled: Scaled) -> None:
    print(
        *(
            f"{d['time']} {d['before']} → {d['after']}: {d['rule']}: {d['message']}"
            for d in scaled.status()["decisions"]
        ),
        sep="\n",
    )


def tell_why(scaled: Scaled) -> None:
    """Assert that status and events give reasons."""
    tell_decisions(scaled)
    status = scaled.status()
    assert status["measuredLatency"] == str(EDGE)
    assert [status["decisions"][-1]["before"], status["decisions"][0]["after"]] == ["default 1", "default 1"]
    assert all(any(character.isdigit() for character in decision["message"]) for decision in status["decisions"])
    events = [event for event in scaled.fleet.events("m") if "default" in str(event["message"])]
    print(*(f"{e['type']} {e['reason']}: {e['message']}" for e in scaled.fleet.events("m")), sep="\n")
    assert events
