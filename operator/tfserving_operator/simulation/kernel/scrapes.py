"""What Prometheus has of a fleet: counters at scrapes, late and with gaps, and rates over a window of them."""

from __future__ import annotations

from tfserving_operator.simulation.kernel.compiled import inlined
from tfserving_operator.simulation.kernel.layout import COUNTED, SAMPLES, SLOTS, Fleet, Phase, Seen, Settings, Tally
from tfserving_operator.simulation.kernel.random_numbers import Stream, uniform
from tfserving_operator.simulation.kernel.serving import in_flight

_FREE, _WAITING, _STARTING, _READY, _DRAINING = (int(phase) for phase in Phase)
_SEEN_READY, _SEEN_STARTING, _SEEN_WAITING, _COVERED, _UNCOVERED_NEW, _UNCOVERED, _OLDEST, _FIRST_RATE = (
    int(kind) for kind in list(Seen)[:8]
)
_RESTARTS, _START_UP, _PAID, _IN_FLIGHT, _MEASURED, _WINDOW = (int(kind) for kind in list(Seen)[15:])
_COUNTS = 2
"""Where counters begin in a sample."""
_NEWEST = 3
_NO_SERIAL = 1 << 60
_LOSS = int(Stream.SCRAPE_LOSS)
_SCRAPES_A_REPLICA = 1 << 28


@inlined
def begin_series(fleet: Fleet, settings: Settings, replica: int, seconds: float) -> None:
    """Begin the counters of ``replica`` at zero: a new process."""
    passed = int((seconds - fleet.scrape_phase[replica]) // settings.scrape_interval_seconds)
    fleet.next_scrape[replica] = passed + 1
    fleet.sample_count[replica] = 0
    fleet.totals[replica, :] = 0.0
    fleet.pending[replica, :, :] = 0.0


@inlined
def scrape(fleet: Fleet, settings: Settings, seconds: float) -> None:
    """Take every scrape that is due by ``seconds``; some get lost."""
    for replica in range(fleet.phase.shape[0]):
        if fleet.phase[replica] != _READY and fleet.phase[replica] != _DRAINING:
            continue
        while True:
            number = fleet.next_scrape[replica]
            at = fleet.scrape_phase[replica] + number * settings.scrape_interval_seconds
            if at > seconds:
                break
            slot = (number - 1) % SLOTS
            for kind in range(COUNTED):
                fleet.totals[replica, kind] += fleet.pending[replica, slot, kind]
                fleet.pending[replica, slot, kind] = 0.0
            fleet.next_scrape[replica] += 1
            draw = 1.0
            if settings.scrape_loss > 0.0:
                draw = uniform(settings.keys[_LOSS], fleet.serial[replica] * _SCRAPES_A_REPLICA + number)
            keep_sample(fleet, replica, at, draw > settings.scrape_loss)


@inlined
def keep_sample(fleet: Fleet, replica: int, at: float, is_success: bool) -> None:
    """Remember the counters as a scrape at ``at`` saw them, or that it failed."""
    place = fleet.sample_count[replica] % SAMPLES
    fleet.samples[replica, place, 0] = at
    fleet.samples[replica, place, 1] = 1.0 if is_success else 0.0
    for kind in range(COUNTED):
        fleet.samples[replica, place, _COUNTS + kind] = fleet.totals[replica, kind]
    fleet.sample_count[replica] += 1


@inlined
def previous_success(fleet: Fleet, replica: int, number: int, since: float) -> int:
    """Return the number of the newest successful scrape before ``number`` that is not older than ``since``, or -1."""
    oldest = max(0, fleet.sample_count[replica] - SAMPLES)
    number -= 1
    while number >= oldest and fleet.samples[replica, number % SAMPLES, 0] > since:
        if fleet.samples[replica, number % SAMPLES, 1] > 0.0:
            return int(number)
        number -= 1
    return -1


@inlined
def newest_visible(fleet: Fleet, settings: Settings, replica: int, seconds: float) -> int:
    """Return the number of the newest scrape that can be queried at ``seconds``, or -1."""
    number = fleet.sample_count[replica] - 1
    oldest = max(0, fleet.sample_count[replica] - SAMPLES)
    while number >= oldest:
        if fleet.samples[replica, number % SAMPLES, 0] + settings.scrape_delay_seconds <= seconds:
            return int(number)
        number -= 1
    return -1


@inlined
def add_rates(fleet: Fleet, settings: Settings, tally: Tally, replica: int, seconds: float) -> bool:
    """Add the rates of ``replica`` to what is seen of its pool, as the operator's queries do; False without any.

    They are those between the two newest successful scrapes (``irate``) of a target whose last scrape did not fail
    (``up == 1``), within the lookback.
    """
    since = seconds - settings.lookback_seconds
    last = newest_visible(fleet, settings, replica, seconds)
    if last < 0 or fleet.samples[replica, last % SAMPLES, 1] <= 0.0:
        return False
    newest = fleet.samples[replica, last % SAMPLES, 0]
    first = previous_success(fleet, replica, last, since)
    if first < 0 or newest <= since:
        return False
    span = newest - fleet.samples[replica, first % SAMPLES, 0]
    seen = tally.seen[fleet.pool[replica]]
    for kind in range(_COUNTS, _COUNTS + COUNTED):
        increase = fleet.samples[replica, last % SAMPLES, kind] - fleet.samples[replica, first % SAMPLES, kind]
        seen[_FIRST_RATE + kind - _COUNTS] += increase / span
    seen[_OLDEST] = min(seen[_OLDEST], newest)
    seen[_WINDOW] = max(seen[_WINDOW], span)
    seen[_MEASURED] += 1
    return True


@inlined
def see_ready(fleet: Fleet, settings: Settings, tally: Tally, replica: int, is_covered: bool, seconds: float) -> None:
    """Count a ready replica."""
    seen = tally.seen[fleet.pool[replica]]
    seen[_SEEN_READY] += 1
    seen[_IN_FLIGHT] += in_flight(fleet, settings, replica, seconds)
    due = fleet.ready_seconds[replica] + 2 * settings.scrape_interval_seconds + settings.scrape_delay_seconds
    if is_covered:
        seen[_COVERED] += 1
    elif seconds < due:
        seen[_UNCOVERED_NEW] += 1
    else:
        seen[_UNCOVERED] += 1


@inlined
def observe(fleet: Fleet, settings: Settings, tally: Tally, seconds: float) -> None:
    """Write to ``tally.seen`` what the operator would see of each pool at ``seconds``."""
    tally.seen[:, :] = 0.0
    for pool in range(tally.seen.shape[0]):
        tally.seen[pool, _OLDEST] = seconds
    for replica in range(fleet.phase.shape[0]):
        phase = fleet.phase[replica]
        if phase == _FREE:
            continue
        seen = tally.seen[fleet.pool[replica]]
        seen[_PAID] += 1
        seen[_RESTARTS] += fleet.restarts[replica]
        # A replica that ended is no target any more, and its samples are nobody's load.
        is_covered = phase >= _READY and add_rates(fleet, settings, tally, replica, seconds)
        if phase == _READY:
            see_ready(fleet, settings, tally, replica, is_covered, seconds)
        elif phase == _STARTING:
            seen[_SEEN_STARTING] += 1
        elif phase == _WAITING:
            seen[_SEEN_WAITING] += 1
        else:
            seen[_IN_FLIGHT] += in_flight(fleet, settings, replica, seconds)
    for pool in range(tally.seen.shape[0]):
        tally.seen[pool, _START_UP] = start_up_seen(fleet, pool)


@inlined
def start_up_seen(fleet: Fleet, pool: int) -> float:
    """Return how long replicas of ``pool`` took from creation to ready: the median of the three newest, or -1."""
    below = _NO_SERIAL
    first, second, third = -1.0, -1.0, -1.0
    for place in range(_NEWEST):
        newest = -1
        for replica in range(fleet.phase.shape[0]):
            is_one = fleet.phase[replica] != _FREE and fleet.pool[replica] == pool and fleet.took_seconds[replica] >= 0
            is_next = fleet.serial[replica] < below and (newest < 0 or fleet.serial[replica] > fleet.serial[newest])
            if is_one and is_next:
                newest = replica
        if newest < 0:
            break
        below = fleet.serial[newest]
        if place == 0:
            first = fleet.took_seconds[newest]
        elif place == 1:
            second = fleet.took_seconds[newest]
        else:
            third = fleet.took_seconds[newest]
    if second < 0.0:
        return float(first)
    if third < 0.0:
        return float((first + second) / 2)
    return float(max(min(first, second), min(max(first, second), third)))
