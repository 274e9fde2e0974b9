"""Answers of Prometheus's HTTP API, and how they go wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import Enum
from typing import Any

Series = dict[str, Any]

HOURS_LATE_SECONDS = 3 * 3600.0
_NEARLY_NOW_SECONDS = 600.0


class Trouble(Enum):
    """What may be wrong with a Prometheus."""

    NONE = "answers as it should"
    SERVER_ERROR = "answers 500 with Prometheus's own error document"
    BAD_GATEWAY = "answers 502 with a page of HTML, as a load balancer does"
    UNAUTHORIZED = "answers 401"
    NOT_JSON = "answers 200 with a page of HTML, as a login does"
    NAN = "every value is NaN"
    EMPTY = "no series at all"
    PARTIAL = "every other series, with a warning that a store did not answer"
    LATE = "every sample is hours old"
    HANG = "takes connections and never answers"
    CLOSE = "closes connections without an answer"


ANSWER_TROUBLES = frozenset({Trouble.NAN, Trouble.EMPTY, Trouble.PARTIAL, Trouble.LATE})
"""Those in which something answers in Prometheus's own format."""

PARTIAL_WARNING = "No StoreAPIs matched for this query: store 10.0.0.7:10901 is unavailable"
"""In the words of Thanos."""


def spoil(content: bytes, trouble: Trouble, *, now: float) -> bytes:
    """Return the answer to a query as it would be in ``trouble``; other documents come back as they are."""
    document = json.loads(content)
    data = document.get("data")
    if not isinstance(data, dict) or data.get("resultType") not in ("vector", "matrix"):
        return content
    match trouble:
        case Trouble.NAN:
            data["result"] = [_with_values(series, lambda at, _: (at, "NaN")) for series in data["result"]]
        case Trouble.EMPTY:
            data["result"] = []
        case Trouble.PARTIAL:
            data["result"] = data["result"][::2]
            document["warnings"] = [*document.get("warnings", []), PARTIAL_WARNING]
        case Trouble.LATE:
            data["result"] = [_with_values(series, lambda at, text: _late(at, text, now)) for series in data["result"]]
        case _:
            raise ValueError(f"{trouble} is not a matter of the answer's content")
    return json.dumps(document).encode()


def _late(at: float, text: str, now: float) -> tuple[float, str]:
    """Move a sample into the past; a value that is about now is a time, as from ``timestamp()``, and moves as well."""
    value = float(text)
    is_time = abs(value - now) < _NEARLY_NOW_SECONDS
    return at - HOURS_LATE_SECONDS, str(value - HOURS_LATE_SECONDS) if is_time else text


def _with_values(series: Series, change: Callable[[float, str], tuple[float, str]]) -> Series:
    changed = dict(series)
    if "value" in series:
        changed["value"] = list(change(*series["value"]))
    if "values" in series:
        changed["values"] = [list(change(*sample)) for sample in series["values"]]
    return changed
