"""Quantities, read for what the model server and the fetcher must be told about them."""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation


def cpu_count(quantity: int | str | None) -> int | None:
    """Whole CPUs that a limit allows, at least 1; None without a limit or where it cannot be read.

    The API server checks quantities when the Deployment is applied, so an unreadable one is not an error here.
    """
    if quantity is None:
        return None
    text = str(quantity)
    try:
        cpus = Decimal(text[:-1]) / 1000 if text.endswith("m") else Decimal(text)
    except InvalidOperation:
        return None
    return max(1, math.ceil(cpus)) if cpus.is_finite() else None


_BYTE_UNITS = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def bytes_count(quantity: str | None) -> int | None:
    """Bytes that a size allows, rounded down; None without one or where it cannot be read."""
    if quantity is None:
        return None
    number = quantity.rstrip("kMGTi")
    try:
        return int(Decimal(number) * _BYTE_UNITS.get(quantity[len(number) :], 1))
    except InvalidOperation:
        return None
