"""CPU quantities, read for what the model server must be told about them."""

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
