"""Quantities, read exactly and as the API server reads them (apimachinery, api/resource/quantity.go)."""

from __future__ import annotations

import math
import re
from decimal import MAX_EMAX, MIN_EMIN, ROUND_UP, Context, Decimal
from typing import Any

_FORM = re.compile(
    r"(?P<number>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:[eE](?P<exponent>[+-]?[0-9]{1,9})|(?P<unit>[KMGTPE]i|[numkMGTPE]?))"
)
_UNITS = {
    "": Decimal(1),
    **{unit: Decimal(10) ** (3 * power) for power, unit in enumerate(("n", "u", "m", "", "k", *"MGTPE"), start=-3)},
    **{f"{unit}i": Decimal(2) ** (10 * power) for power, unit in enumerate("KMGTPE", start=1)},
}
_LARGEST = Decimal(2**63 - 1)
_SMALLEST = Decimal("1e-9")
_EXACT = Context(prec=100, Emax=MAX_EMAX, Emin=MIN_EMIN, rounding=ROUND_UP)
"""Enough digits for any quantity that the ServedModel's schema takes."""


def parse_quantity(value: Any) -> Decimal | None:
    """Return a quantity as a number, None where it is not one.

    Like the API server, it takes what is beyond 2^63-1 for that, and rounds away from zero to whole billionths.
    """
    form = _FORM.fullmatch(str(value))
    if form is None:
        return None
    number = Decimal(form["number"])
    if form["exponent"] is not None:
        exact = number.scaleb(int(form["exponent"]), _EXACT)
    else:
        exact = _EXACT.multiply(number, _UNITS[form["unit"]])
    return _EXACT.quantize(max(-_LARGEST, min(exact, _LARGEST)), _SMALLEST)


def cpu_count(quantity: int | str | None) -> int | None:
    """Whole CPUs that a limit allows, at least 1; None without a limit or where it cannot be read.

    The API server checks quantities when the Deployment is applied, so an unreadable one is not an error here.
    """
    cpus = parse_quantity(quantity)
    return None if cpus is None else max(1, math.ceil(cpus))


def bytes_count(quantity: str | None) -> int | None:
    """Bytes that a size allows, rounded down, at least 1; None without one or where it cannot be read."""
    size_bytes = parse_quantity(quantity)
    return None if size_bytes is None else max(1, int(size_bytes))
