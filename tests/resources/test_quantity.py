from __future__ import annotations

from decimal import Decimal

import pytest

from tfserving_operator.resources.quantity import bytes_count, cpu_count, parse_quantity


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", "0"), (2, "2"), ("+1", "1"), ("-1.5", "-1.5"), (".5", "0.5"), ("5.", "5"),
        ("1n", "1e-9"), ("1u", "1e-6"), ("700m", "0.7"), ("1k", "1e3"), ("1M", "1e6"), ("1G", "1e9"), ("1T", "1e12"),
        ("1P", "1e15"), ("1E", "1e18"), ("1Ki", 2**10), ("1.5Mi", 3 * 2**19), ("1Gi", 2**30), ("1Ti", 2**40),
        ("1Pi", 2**50), ("7Ei", 7 * 2**60), ("1e3", "1000"), ("1E3", "1000"), ("12e-1", "1.2"), ("1e+2", "100"),
    ],
)  # fmt: skip
def test_every_form_of_a_quantity_is_read_exactly(text: str | int, number: str | int) -> None:
    assert parse_quantity(text) == Decimal(number)


@pytest.mark.parametrize(
    "text",
    ["", " 1", "1 Gi", "m", "1ki", "1K", "1mi", "1e", "1e1.5", "1e3k", "0x10", "1_000", "Infinity", "nan", "\u0661",
     None, True, "1" * 400 + "?"],
)  # fmt: skip
def test_what_is_no_quantity_is_not_read(text: object) -> None:
    assert parse_quantity(text) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [("8Ei", 2**63 - 1), ("1e999999999", 2**63 - 1), ("-1e99", 1 - 2**63), ("0.1n", "1e-9"), ("1e-99", "1e-9")],
)
def test_a_quantity_is_bounded_as_the_api_server_bounds_it(text: str, number: str | int) -> None:
    assert parse_quantity(text) == Decimal(number)


@pytest.mark.parametrize(
    ("limit", "cpus"),
    [(None, None), (2, 2), ("1500m", 2), ("0.7", 1), ("0", 1), ("1e1", 10), ("2k", 2000), ("many", None)],
)
def test_whole_cpus_of_a_limit(limit: int | str | None, cpus: int | None) -> None:
    assert cpu_count(limit) == cpus


@pytest.mark.parametrize(
    ("size", "count"),
    [
        (None, None), ("2Gi", 2**31), ("1Pi", 2**50), ("1P", 10**15), ("1Ei", 2**60), ("1E", 10**18),
        ("2e9", 2_000_000_000), ("1.1Ki", 1126), ("1m", 1), ("large", None),
    ],
)  # fmt: skip
def test_bytes_of_a_size(size: str | None, count: int | None) -> None:
    assert bytes_count(size) == count
