from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tfserving_operator.api.autoscaling import Schedule
from tfserving_operator.autoscaling.schedules import schedule_in_force, schedule_problems


def schedule(start: str, *, hours: float = 1, zone: str = "Etc/UTC", minimum: int = 4, name: str = "busy") -> Schedule:
    return Schedule(name=name, start=start, duration_seconds=int(hours * 3600), time_zone=zone, min_replicas=minimum)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


WORKDAYS = schedule("30 7 * * MON-FRI", hours=10, zone="Europe/Berlin")


@pytest.mark.parametrize(
    ("moment", "is_in_force"),
    [
        pytest.param("2026-03-02T06:29:59", False, id="a-second-before"),
        pytest.param("2026-03-02T06:30:00", True, id="its-first-second"),
        pytest.param("2026-03-02T16:29:59", True, id="its-last-second"),
        pytest.param("2026-03-02T16:30:00", False, id="just-over"),
        pytest.param("2026-03-07T12:00:00", False, id="saturday"),
        pytest.param("2026-07-06T05:30:00", True, id="summer-time-is-an-hour-earlier"),
        pytest.param("2026-07-06T05:29:59", False, id="summer-time-a-second-before"),
    ],
)
def test_a_window_is_in_its_own_time_zone(moment: str, is_in_force: bool) -> None:
    assert (schedule_in_force([WORKDAYS], at(moment)) is WORKDAYS) is is_in_force


def test_a_window_may_reach_over_midnight() -> None:
    night = schedule("0 23 * * *", hours=4)
    assert schedule_in_force([night], at("2026-03-03T02:59:00")) is night
    assert schedule_in_force([night], at("2026-03-03T03:00:00")) is None


def test_a_duration_counts_in_real_time_when_the_clock_is_set_back() -> None:
    # In Berlin, 2026-10-25 has two hours from 2 to 3: from 01:30 UTC+2 on, three hours end at 03:30 UTC+1.
    night = schedule("30 1 * * *", hours=3, zone="Europe/Berlin")
    assert schedule_in_force([night], at("2026-10-25T02:29:59")) is night
    assert schedule_in_force([night], at("2026-10-25T02:30:00")) is None


def test_the_highest_minimum_of_several_counts() -> None:
    low, high = schedule("0 * * * *", minimum=2, name="low"), schedule("0 12 * * *", minimum=7, name="high")
    assert schedule_in_force([low, high], at("2026-03-02T12:10:00")) is high


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (schedule("61 7 * * *"), "write for example 30 7"),
        (schedule("0 7 * * *", zone="Mars/Olympus"), "use an IANA name"),
        (schedule("0 7 * * *", zone="/etc/passwd"), "use an IANA name"),
    ],
)
def test_what_cannot_be_read_is_said_and_passed_over(broken: Schedule, words: str) -> None:
    assert schedule_in_force([broken], at("2026-03-02T07:10:00")) is None
    problems = schedule_problems([broken, WORKDAYS])
    assert len(problems) == 1
    assert words in problems[0]
