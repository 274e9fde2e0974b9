"""Minimums at certain times: cron windows in the time zone that they were written for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from tfserving_operator.api.autoscaling import Schedule


class InvalidScheduleError(ValueError):
    """A schedule that never begins, as its start or its time zone cannot be read."""


def schedule_in_force(schedules: Sequence[Schedule], now: datetime) -> Schedule | None:
    """Return the schedule with the highest minimum among those that ``now`` lies in, None outside all of them.

    A schedule that cannot be read is passed over; ``schedule_problems`` says so to the user.
    """
    active = [schedule for schedule in schedules if _is_in_force(schedule, now)]
    return max(active, key=lambda schedule: schedule.min_replicas, default=None)


def schedule_problems(schedules: Sequence[Schedule]) -> list[str]:
    """Return a sentence for each schedule whose start or time zone cannot be read; empty when all are fine."""
    problems = []
    for schedule in schedules:
        try:
            _check(schedule.start, schedule.time_zone)
        except InvalidScheduleError as error:
            problems.append(f"spec.autoscaling.schedules[{schedule.name}]: {error}")
    return problems


def _is_in_force(schedule: Schedule, now: datetime) -> bool:
    # Cron counts minutes, so the last start is the same all through one: a thousand models ask every two seconds.
    began = _last_start(schedule.start, schedule.time_zone, int(now.timestamp() // 60))
    return began is not None and now < began + timedelta(seconds=schedule.duration_seconds)


@lru_cache(maxsize=4096)
def _last_start(start: str, time_zone: str, minute: int) -> datetime | None:
    try:
        zone = _check(start, time_zone)
    except InvalidScheduleError:
        return None
    # One second into the minute, so that a start at its very beginning lies in the past.
    moment = datetime.fromtimestamp(minute * 60, UTC) + timedelta(seconds=1)
    latest = next(CronSim(start, moment.astimezone(zone), reverse=True), None)
    return None if latest is None else latest.astimezone(UTC)


@lru_cache(maxsize=1024)
def _check(start: str, time_zone: str) -> ZoneInfo:
    try:
        zone = ZoneInfo(time_zone)
    except (ValueError, OSError, LookupError):
        raise InvalidScheduleError(
            f"timeZone {time_zone!r} is not known; use an IANA name, for example Europe/Berlin"
        ) from None
    try:
        CronSim(start, datetime(2000, 1, 1, tzinfo=zone))
    except CronSimError as error:
        raise InvalidScheduleError(
            f"start {start!r} is not a cron expression ({error}); write for example 30 7 * * MON-FRI"
        ) from None
    return zone
