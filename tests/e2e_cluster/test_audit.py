from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster.audit import AuditEvent, read_audit_log

_NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "audit.log"
    records = [
        _record("alice", "create", "pods", minutes=0),
        _record("alice", "watch", "pods", minutes=1, stage="ResponseStarted"),
        _record("bob", "patch", "deployments", minutes=2),
        _record("alice", "create", "secrets", minutes=3),
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_an_event_has_every_part_of_the_request(log: Path) -> None:
    assert read_audit_log(log)[0] == AuditEvent(
        user="alice",
        verb="create",
        resource="pods",
        subresource="status",
        namespace="default",
        name="web",
        code=200,
        timestamp=_NOON,
        user_agent="kubectl/v1.36.3",
        uri="/api/v1/namespaces/default/pods/web/status",
    )


@pytest.mark.parametrize(
    ("wanted", "resources"),
    [
        pytest.param({}, ["pods", "deployments", "secrets"], id="everything that was answered"),
        pytest.param({"user": "alice"}, ["pods", "secrets"], id="a user"),
        pytest.param({"verb": "patch"}, ["deployments"], id="a verb"),
        pytest.param({"resource": "secrets"}, ["secrets"], id="a resource"),
        pytest.param({"user": "bob", "verb": "create"}, [], id="all must match"),
        pytest.param({"since": _NOON + timedelta(minutes=2)}, ["deployments", "secrets"], id="from then on"),
    ],
)
def test_events_are_those_that_match(log: Path, wanted: dict[str, Any], resources: list[str]) -> None:
    assert [event.resource for event in read_audit_log(log, **wanted)] == resources


def test_a_line_that_is_being_written_does_not_count(log: Path) -> None:
    with log.open("a") as end:
        end.write('{"kind": "Event", "stage": "Respon')

    assert len(read_audit_log(log)) == 3


def test_a_request_for_no_object_has_empty_parts(tmp_path: Path) -> None:
    record = _record("alice", "get", "", minutes=0)
    del record["objectRef"]
    (tmp_path / "log").write_text(json.dumps(record) + "\n")

    (event,) = read_audit_log(tmp_path / "log")

    assert (event.resource, event.namespace, event.name) == ("", "", "")


def test_no_log_has_no_events(tmp_path: Path) -> None:
    assert read_audit_log(tmp_path / "absent") == []


def _record(user: str, verb: str, resource: str, *, minutes: int, stage: str = "ResponseComplete") -> dict[str, Any]:
    arrived = _NOON + timedelta(minutes=minutes)
    return {
        "stage": stage,
        "verb": verb,
        "user": {"username": user},
        "objectRef": {"resource": resource, "subresource": "status", "namespace": "default", "name": "web"},
        "responseStatus": {"code": 200},
        "requestReceivedTimestamp": arrived.isoformat().replace("+00:00", "Z"),
        "requestURI": "/api/v1/namespaces/default/pods/web/status",
        "userAgent": "kubectl/v1.36.3",
    }
