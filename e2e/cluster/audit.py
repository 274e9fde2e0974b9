"""Who asked the apiserver for what: its audit log, typed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class AuditEvent:
    """One request that was answered; ``name`` is empty for lists and for names that the server generates."""

    user: str
    verb: str
    resource: str
    subresource: str
    namespace: str
    name: str
    code: int
    timestamp: datetime
    user_agent: str
    uri: str


def read_audit_log(
    path: Path,
    *,
    user: str | None = None,
    verb: str | None = None,
    resource: str | None = None,
    since: datetime | None = None,
) -> list[AuditEvent]:
    """Return the requests that match everything given, oldest first; ``since`` is compared with their arrival."""
    wanted = {"user": user, "verb": verb, "resource": resource}
    return [
        event
        for event in _events(path)
        if all(value is None or getattr(event, name) == value for name, value in wanted.items())
        and (since is None or event.timestamp >= since)
    ]


def _events(path: Path) -> Iterator[AuditEvent]:
    if not path.exists():
        return
    with path.open() as lines:
        for line in lines:
            if line.endswith("\n"):  # the last one may be half written
                record = json.loads(line)
                if record["stage"] == "ResponseComplete":
                    yield _event(record)


def _event(record: dict[str, Any]) -> AuditEvent:
    target = record.get("objectRef", {})
    return AuditEvent(
        user=record["user"].get("username", ""),
        verb=record["verb"],
        resource=target.get("resource", ""),
        subresource=target.get("subresource", ""),
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        code=record["responseStatus"].get("code", 0),
        timestamp=datetime.fromisoformat(record["requestReceivedTimestamp"]),
        user_agent=record.get("userAgent", ""),
        uri=record["requestURI"],
    )
