from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.simulation.scenes import trace
from tfserving_operator.simulation.trace import Trace, TraceError, build_trace, parse_trace, read_trace

HEADER = "time_seconds,requests_per_second\n"


def parse(text: str) -> Trace:
    return parse_trace(text.splitlines(keepends=True), name="t.csv")


def test_rows_are_read() -> None:
    it = parse(HEADER + "0,10\n60,20.5\n120,1e1\n")
    assert it.times_seconds.tolist() == [0, 60, 120]
    assert it.requests_per_second.tolist() == [10, 20.5, 10]
    assert it.service_time_scale.tolist() == [1, 1, 1]
    assert it.gpus_available is None
    assert it.assumptions == ()


def test_columns_may_come_in_any_order_and_with_the_optional_ones() -> None:
    it = parse("gpus_available,requests_per_second, time_seconds ,service_time_scale\n4,10,0,1.5\n2,20,60,2\n")
    assert it.requests_per_second.tolist() == [10, 20]
    assert it.service_time_scale.tolist() == [1.5, 2]
    assert it.gpus_available is not None
    assert it.gpus_available.tolist() == [4, 2]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\xef\xbb\xbftime_seconds,requests_per_second\r\n0,1\r\n60,2\r\n", id="BOM and CRLF"),
        pytest.param(b"time_seconds,requests_per_second\n0,1\n60,2\n\n\n  \n", id="blank lines at the end"),
        pytest.param(b"# from the access log\ntime_seconds,requests_per_second\n\n0,1\n60,2", id="comment"),
        pytest.param(b'"time_seconds","requests_per_second"\n"0","1"\n60, 2 \n', id="quotes and blanks"),
        pytest.param(b"time_seconds,requests_per_second\n60,2\n0,1\n", id="not in order"),
        pytest.param(b"time_seconds,requests_per_second\n0,1\n60,2\n60,2\n", id="a row twice"),
        pytest.param(b"time_seconds,requests_per_second\n-30,1\n30,2\n", id="begins below zero"),
        pytest.param(b"time_seconds,requests_per_second\n1700000000,1\n1700000060,2\n", id="epoch"),
    ],
)
def test_what_other_programs_write_is_read(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "load.csv"
    file.write_bytes(content)
    it = read_trace(file)
    assert it.times_seconds.tolist() == [0, 60]
    assert it.requests_per_second.tolist() == [1, 2]


def test_what_was_put_right_is_said() -> None:
    assert "sorted" in parse(HEADER + "60,2\n0,1\n").assumptions[0]
    assert "count once" in parse(HEADER + "0,1\n60,2\n60,2\n").assumptions[0]
    it = parse("Time_Seconds,users,requests_per_second,note\n0,7,1,\n60,,2,x\n")
    assert "left out: users, note" in it.assumptions[0]
    assert it.requests_per_second.tolist() == [1, 2]


def test_the_heaviest_loads_are_those_that_no_other_exceeds_in_both() -> None:
    rates = {0.0: 100.0, 60.0: 80.0, 120.0: 90.0, 180.0: 10.0}
    it = trace(rates, service_time_scale=[1, 2, 1.5, 3])
    assert it.heaviest_loads() == ((10, 3), (80, 2), (90, 1.5), (100, 1))
    assert trace(rates).heaviest_loads() == ((100, 1),)


def test_the_heaviest_loads_are_few_and_no_lighter_than_any_row() -> None:
    times = np.arange(0, 10_000, 10.0)
    it = trace(dict(zip(times, 50 + times % 77, strict=True)), service_time_scale=(1 + times % 613 / 600).tolist())
    loads = it.heaviest_loads()
    assert len(loads) <= 8
    for rate, scale in zip(it.requests_per_second, it.service_time_scale, strict=True):
        assert any(rate <= heavy and scale <= slow for heavy, slow in loads)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "t.csv is empty"),
        ("\n\n", "t.csv is empty"),
        ("0,10\n60,20\n", "no column time_seconds and requests_per_second"),
        ("time_seconds;requests_per_second\n0;1\n", "no column time_seconds"),
        ("time_seconds,rps\n0,1\n", "no column requests_per_second"),
        ("time_seconds,time_seconds,requests_per_second\n0,0,1\n", "column twice"),
        (HEADER, "t.csv has no row of data"),
        (HEADER + "0,10\n", "t.csv has 1 row of data"),
        (HEADER + "0,10\n0,10\n", "t.csv has 1 row of data"),
        (HEADER + "0,1_0\n60,2\n", "line 2: requests_per_second is '1_0'"),
        (HEADER + "0,10\n60\n", "line 3: 1 values for 2 columns"),
        (HEADER + "0,10\n60,2,3\n", "line 3: 3 values for 2 columns"),
        (HEADER + "0,ten\n60,2\n", "line 2: requests_per_second is 'ten'"),
        (HEADER + "2024-01-01,10\n60,2\n", "line 2: time_seconds is '2024-01-01'"),
        (HEADER + "0,\n60,2\n", "line 2: requests_per_second is ''"),
        (HEADER + "0,nan\n60,2\n", "finite"),
        (HEADER + "0,inf\n60,2\n", "finite"),
        (HEADER + "0,-1\n60,2\n", "0 or more"),
        (HEADER + "0,1e12\n60,2\n", "at most 1e"),
        (HEADER + "1700000000000,1\n1700000060000,2\n", "not milliseconds"),
        (HEADER + "0,1\n60,2\n60,3\n", "line 4: time_seconds 60 comes twice"),
        (HEADER + "0,1\n99999999,2\n", "1157 days"),
        (HEADER + "0,1\n1e-310,2\n60,2\n", "line 3: time_seconds 1e-310 is less than 1e-06 s after the row before"),
        ("time_seconds,requests_per_second,service_time_scale\n0,1,0\n1,1,1\n", "more than 0"),
        ("time_seconds,requests_per_second,service_time_scale\n0,1,1e9\n1,1,1\n", "at most 1000"),
        ("time_seconds,requests_per_second,gpus_available\n0,1,-2\n1,1,1\n", "gpus_available is -2"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, words: str) -> None:
    with pytest.raises(TraceError, match=words) as refused:
        parse(text)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"\x00\x01\x02", b"\xff\xfe\x00", b"a\x00b,c\n"])
def test_a_file_that_is_no_text_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(TraceError, match=r"t\.csv"):
        read_trace(tmp_path / "t.csv")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"none\.csv: No such file"):
        read_trace(tmp_path / "none.csv")
    with pytest.raises(TraceError, match="Is a directory"):
        read_trace(tmp_path)


@given(st.text(max_size=200))
def test_no_text_does_anything_but_parse_or_say_why_not(text: str) -> None:
    for content in (text, HEADER + text):
        try:
            parse(content)
        except TraceError as error:
            assert str(error)


def test_the_rate_is_a_straight_line_between_rows() -> None:
    it = trace({0: 0, 100: 100, 200: 100})
    assert it.rate_at(np.array([-5.0, 50.0, 150.0, 500.0])).tolist() == [0, 50, 100, 100]
    assert it.requests_until(np.array([0.0, 50.0, 100.0, 200.0, 900.0])).tolist() == [0, 1250, 5000, 15000, 15000]
    assert it.requests == 15000


def test_devices_change_in_steps() -> None:
    it = trace({0: 1, 100: 1}, gpus_available=[4, 2])
    assert it.gpus_at(np.array([0.0, 99.0, 100.0, 500.0])).tolist() == [4, 4, 2, 2]


def test_seconds_since_1970_are_a_time_of_the_calendar() -> None:
    it = build_trace(name="t", time_seconds=[1_700_000_000, 1_700_000_060], requests_per_second=[1, 1])
    assert it.origin == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert it.is_dated
    assert not build_trace(name="t", time_seconds=[3600, 7200], requests_per_second=[1, 1]).is_dated


@pytest.mark.parametrize(("first", "hour"), [(-30, 0), (0, 0), (3600, 1)])
def test_other_seconds_count_from_a_monday(first: float, hour: int) -> None:
    it = build_trace(name="t", time_seconds=[first, 7200], requests_per_second=[1, 1])
    assert f"{it.origin:%A %H:%M}" == f"Monday {hour:02}:00"


def test_a_thinned_trace_says_what_each_request_stands_for() -> None:
    it = trace({0: 100, 60: 100}).thinned(4)
    assert it.requests == pytest.approx(1500)
    assert it.requests_each == 4
    assert "stands for 4" in it.assumptions[0]
