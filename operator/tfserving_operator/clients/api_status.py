"""The API server's error answers (``kind: Status``) as our own errors."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tfserving_operator.clients.errors import Cause, ClientError, Conflict, Gone, NotFound, Rejected, Unavailable

_MANAGER_IN_CONFLICT = re.compile(r'conflict with "([^"]+)"')
_TYPED_PATCH_FAULT = "failed to create typed patch object"
_TOO_MANY_REQUESTS = 429
_FIRST_SERVER_ERROR = 500


def error_of_response(code: int, body: bytes, headers: Mapping[str, str]) -> ClientError:
    """Return the error that an HTTP answer of ``code`` stands for."""
    status = _parse_status(body)
    retry_after = _seconds(headers.get("Retry-After"))
    if retry_after is None:
        retry_after = _seconds((status.get("details") or {}).get("retryAfterSeconds"))
    return error_of_status(code, status, retry_after_seconds=retry_after)


def error_of_status(code: int, status: Mapping[str, Any], *, retry_after_seconds: float | None = None) -> ClientError:
    """Return the error that a Status object stands for; in a watch it comes as an event of type ERROR."""
    message = status.get("message") or f"the API server answered {code}"
    reason = status.get("reason") or ""
    causes = _causes(status)
    if code == 404 or _is_terminating(status):
        return NotFound(message)
    if code == 409:
        return Conflict(message, field_managers=_conflicting_managers(causes))
    if code == 410:
        return Gone(message)
    if code == _TOO_MANY_REQUESTS or (code >= _FIRST_SERVER_ERROR and _TYPED_PATCH_FAULT not in message):
        return Unavailable(message, retry_after_seconds=retry_after_seconds)
    return Rejected(message, reason=reason or "Invalid", causes=causes)


def _is_terminating(status: Mapping[str, Any]) -> bool:
    """Whether the namespace is on its way out, which Kubernetes answers with 403: nothing can be made there again."""
    causes = (status.get("details") or {}).get("causes") or ()
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)


def _parse_status(body: bytes) -> Mapping[str, Any]:
    """A proxy between us and the API server may answer in HTML or text: its first line is the message."""
    try:
        status = json.loads(body)
    except ValueError:
        status = None
    if isinstance(status, dict):
        return status
    text = body.decode(errors="replace").strip()
    return {"message": text.splitlines()[0][:200]} if text else {}


def _causes(status: Mapping[str, Any]) -> tuple[Cause, ...]:
    causes = (status.get("details") or {}).get("causes") or ()
    return tuple(Cause(cause.get("field", ""), cause.get("message", "")) for cause in causes)


def _conflicting_managers(causes: tuple[Cause, ...]) -> tuple[str, ...]:
    found = (_MANAGER_IN_CONFLICT.search(cause.message) for cause in causes)
    return tuple(dict.fromkeys(match[1] for match in found if match))


def _seconds(value: Any) -> float | None:
    """Retry-After may also be a date; the API server never sends one."""
    try:
        return max(0.0, float(value))
    except (TypeError, ValueError):
        return None
