"""What an answer of Prometheus' API says, or which state it leaves its readers in. Pure.

Source of statuses and error types: Prometheus' HTTP API, "Format overview".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tfserving_operator.autoscaling.signals import SignalState

Row = tuple[Mapping[str, str], float]
"""Labels and value of one series."""

_MESSAGE_CHARACTERS: Final = 300
_HARMLESS_INFO: Final = "PromQL info:"
"""Such as "metric might not be a counter", which TensorFlow Serving's names bring up. Older ones call it a warning."""
_SLOW_ERRORS: Final = frozenset({"timeout", "canceled"})
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _REQUEST_TIMEOUT, _TOO_MANY = 401, 403, 404, 408, 429
_GATEWAY_TIMEOUT, _CLIENT_CLOSED = 504, 499
_FIRST_REDIRECT, _FIRST_CLIENT_ERROR, _FIRST_SERVER_ERROR = 300, 400, 500


@dataclass(frozen=True, slots=True)
class Answer:
    """An instant vector."""

    rows: tuple[Row, ...]
    evaluated_at_seconds: float | None
    """Prometheus' own time of the evaluation, since the epoch; None without rows."""
    warnings: tuple[str, ...] = ()
    """Reasons why rows may be missing."""


@dataclass(frozen=True, slots=True)
class Failure:
    """No answer: the state that it leaves, and what to do in words without any secret."""

    state: SignalState
    message: str


Outcome = Answer | Failure


def read_answer(status: int, body: bytes) -> Outcome:
    """Return the rows of an answer with an HTTP status, or why there are none."""
    if _FIRST_REDIRECT <= status < _FIRST_CLIENT_ERROR:
        return Failure(
            SignalState.PROMETHEUS_REJECTED,
            f"the address answers with a redirect ({status}), which is not followed because credentials would go "
            "along: set the address that it leads to",
        )
    try:
        content = json.loads(body)
    except ValueError:
        return _failure_without_json(status)
    if not isinstance(content, dict) or "status" not in content:
        return _failure_without_json(status)
    if status >= _FIRST_REDIRECT or content["status"] != "success":
        return _failure(status, str(content.get("errorType", "")), str(content.get("error", "")))
    try:
        return _vector(content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return Failure(
            SignalState.PROMETHEUS_UNAVAILABLE, f"the answer is not an instant vector ({type(error).__name__})"
        )


def _vector(content: Mapping[str, Any]) -> Answer:
    data = content["data"]
    if data["resultType"] != "vector":
        raise ValueError(data["resultType"])
    result = data["result"]
    rows = tuple((row["metric"], float(row["value"][1])) for row in result)
    evaluated_at = float(result[0]["value"][0]) if result else None
    notes = (*(content.get("warnings") or ()), *(content.get("infos") or ()))
    return Answer(rows, evaluated_at, tuple(_short(note) for note in notes if not note.startswith(_HARMLESS_INFO)))


def _failure(status: int, kind: str, words: str) -> Failure:
    said = f"HTTP {status}{f', {kind}' if kind else ''}: {_short(words)}"
    if kind in _SLOW_ERRORS or status in (_GATEWAY_TIMEOUT, _REQUEST_TIMEOUT, _CLIENT_CLOSED):
        return Failure(SignalState.PROMETHEUS_SLOW, f"the query took too long ({said})")
    if status in (_UNAUTHORIZED, _FORBIDDEN):
        return Failure(
            SignalState.PROMETHEUS_REJECTED, f"the credentials are refused ({said}): check token, password and headers"
        )
    if status == _TOO_MANY or status >= _FIRST_SERVER_ERROR:
        return Failure(SignalState.PROMETHEUS_UNAVAILABLE, f"answers with an error ({said})")
    if status == _NOT_FOUND:
        return Failure(
            SignalState.PROMETHEUS_REJECTED, f"has no query API below the address ({said}): check the path in the URL"
        )
    return Failure(SignalState.PROMETHEUS_REJECTED, f"refuses the query ({said})")


def _failure_without_json(status: int) -> Failure:
    if status < _FIRST_REDIRECT:
        return Failure(
            SignalState.PROMETHEUS_UNAVAILABLE,
            "the answer is not JSON of Prometheus' API: is it a login page, or another program?",
        )
    return _failure(status, "", "no explanation")


def _short(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= _MESSAGE_CHARACTERS else plain[: _MESSAGE_CHARACTERS - 1] + "…"
