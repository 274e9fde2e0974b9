"""What the operator would see of a simulated fleet, in the words that decisions are made of."""

from __future__ import annotations

from datetime import datetime, timedelta

from tfserving_operator.autoscaling.observation import PoolObservation, ScalingObservation
from tfserving_operator.autoscaling.signals import PoolSignals, SignalState
from tfserving_operator.simulation.engine import Moment
from tfserving_operator.simulation.kernel.layout import Seen
from tfserving_operator.simulation.world import World


def observation_of(moment: Moment, world: World) -> ScalingObservation:
    """Return what a decision at ``moment`` is made from."""
    pools = tuple(_pool_observation(moment, world, index, row) for index, row in enumerate(moment.seen.tolist()))
    return ScalingObservation(spec=world.autoscaling, replicas=world.replicas, pools=pools)


def _pool_observation(moment: Moment, world: World, index: int, row: list[float]) -> PoolObservation:
    pool = world.pools[index].pool
    start_up = row[Seen.START_UP_SECONDS]
    return PoolObservation(
        pool=pool,
        signals=_signals(row, moment.seconds, moment.now, world),
        desired=moment.desired[pool.name],
        ready=int(row[Seen.READY]),
        starting=int(row[Seen.STARTING]),
        waiting=int(row[Seen.WAITING]),
        restarts=int(row[Seen.RESTARTS]),
        start_up_seconds=start_up if start_up >= 0 else None,
        config_hash="simulated",
    )


def _signals(row: list[float], seconds: float, now: datetime, world: World) -> PoolSignals:
    answered = row[Seen.OK]
    failed = {"UNAVAILABLE": row[Seen.UNAVAILABLE], "DEADLINE_EXCEEDED": row[Seen.DEADLINE]}
    requests = answered + sum(failed.values())
    measured = int(row[Seen.MEASURED])
    batches = row[Seen.BATCHES]
    age_seconds = seconds - row[Seen.OLDEST_SAMPLE_SECONDS] if measured else 0.0
    state = _state(row, requests, is_stale=age_seconds > world.max_sample_age_seconds)
    return PoolSignals(
        state=state,
        message="" if state.may_scale_down else _message(row),
        at=now - timedelta(seconds=age_seconds) if measured else None,
        window_seconds=row[Seen.WINDOW_SECONDS] if measured else world.scraping.interval_seconds,
        replicas_covered=measured,
        requests_per_second=requests,
        good_per_second=row[Seen.GOOD],
        good_above_per_second=row[Seen.GOOD_ABOVE],
        errors_per_second={status: rate for status, rate in failed.items() if rate > 0},
        # Little's law: requests in flight = rate x time in the server = seconds spent a second.
        concurrency=row[Seen.LATENCY],
        queue_seconds=row[Seen.QUEUE] / answered if answered > 0 else None,
        batch_size=answered / batches if batches > 0 else None,
    )


def _message(row: list[float]) -> str:
    return f"{row[Seen.COVERED]:.0f} of {row[Seen.READY]:.0f} ready replicas are measured"


def _state(row: list[float], requests_per_second: float, *, is_stale: bool) -> SignalState:
    """Return the state in the words and in the order of ``clients/prometheus_signals.py``."""
    if row[Seen.READY] == 0:
        return SignalState.NO_REPLICAS
    if row[Seen.UNCOVERED] > 0:
        return SignalState.REPLICAS_MISSING
    if row[Seen.UNCOVERED_NEW] > 0:
        return SignalState.NOT_YET_REPORTED
    if is_stale:
        return SignalState.STALE
    return SignalState.MEASURED if requests_per_second > 0 else SignalState.NO_TRAFFIC
