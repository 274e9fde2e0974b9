from __future__ import annotations

from datetime import UTC, datetime

from e2e.scenarios.scrapes import differences, first_breach


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


TOTAL = {10.0: 100.0, 11.0: 120.0, 12.0: 140.0, 13.0: 3.0, 14.0: 3.0}
GOOD = {10.0: 100.0, 11.0: 120.0, 12.0: 130.0, 13.0: 3.0, 14.0: 3.0}


def test_each_pair_of_scrapes_is_an_interval_and_a_reset_is_none() -> None:
    intervals = differences("p", TOTAL, GOOD)
    assert [(i.until, i.requests, i.share) for i in intervals] == [
        (at(11), 20.0, 1.0),
        (at(12), 20.0, 0.5),
        (at(14), 0.0, 1.0),
    ]


def test_a_bucket_that_is_not_there_yet_holds_nothing() -> None:
    assert [i.good for i in differences("p", {1.0: 0.0, 2.0: 5.0}, {})] == [0.0]


def test_the_first_breach_is_the_first_scrape_below_the_objective() -> None:
    intervals = differences("p", TOTAL, GOOD)
    assert first_breach(intervals, percent=90, since=at(0)) == at(12)
    assert first_breach(intervals, percent=50, since=at(0)) is None
    assert first_breach(intervals, percent=90, since=at(12.5)) is None
