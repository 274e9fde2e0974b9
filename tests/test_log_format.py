"""Log lines: one format, bounded, whoever writes."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from tfserving_operator.__main__ import kopf_settings
from tfserving_operator.log_format import configure_logging
from tfserving_operator.settings import LogFormat

log = logging.getLogger("tfserving_operator.example")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    # basicConfig(force=True) closes what it takes off.
    root.handlers.clear()
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)


def configured(log_format: LogFormat) -> io.StringIO:
    stream = io.StringIO()
    configure_logging(log_format, "info", stream=stream)
    return stream


def only_json(stream: io.StringIO) -> dict[str, Any]:
    [line] = stream.getvalue().splitlines()
    parsed: dict[str, Any] = json.loads(line)
    return parsed


def test_json_line_has_message_and_fields_apart() -> None:
    stream = configured("json")

    log.info("scaled", extra={"model": "ns/m", "to": 5})

    line = only_json(stream)
    assert line.pop("timestamp")
    assert line == {
        "level": "INFO",
        "logger": "tfserving_operator.example",
        "message": "scaled",
        "model": "ns/m",
        "to": 5,
    }


def test_text_line_ends_with_the_fields() -> None:
    stream = configured("text")

    log.warning("scaled", extra={"model": "ns/m", "to": 5})

    assert stream.getvalue().endswith("WARNING tfserving_operator.example scaled model=ns/m to=5\n")


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_kopf_writes_in_the_same_format_and_names_the_object(log_format: LogFormat) -> None:
    stream = configured(log_format)
    reference = {"kind": "ServedModel", "namespace": "ns", "name": "m", "uid": "u"}

    logging.getLogger("kopf.objects").warning("odd", extra={"k8s_ref": reference, "settings": kopf_settings()})

    assert "ServedModel ns/m" in stream.getvalue()
    assert "settings" not in stream.getvalue()


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_long_values_are_cut(log_format: LogFormat) -> None:
    stream = configured(log_format)
    pod_spec = {"containers": [{"args": ["--flag"] * 5000}]}

    log.warning("refused", extra={"error": "x" * 50_000, "spec": pod_spec})

    assert len(stream.getvalue()) < 3000


def test_exception_comes_with_its_traceback() -> None:
    stream = configured("json")

    try:
        raise ValueError("a bug")
    except ValueError:
        log.exception("failed")

    assert "ValueError: a bug" in only_json(stream)["exc_info"]


@pytest.mark.parametrize("name", ["kopf.objects", "kopf.activities", "aiohttp.access", "asyncio"])
def test_chatter_of_libraries_is_left_out(name: str) -> None:
    stream = configured("json")

    logging.getLogger(name).info("Handler 'x' succeeded.")

    assert stream.getvalue() == ""


def test_requests_that_kopf_makes_while_it_closes_its_connections_are_no_errors() -> None:
    stream = configured("json")
    reader = logging.getLogger("kopf._core.reactor.observation")

    reader.error("Request attempt #1/9 failed; will retry: GET /apis -> ClientConnectionError('Connector is closed.')")
    log.error("the scaling loop ended: Connector is closed")
    reader.error("Request attempt #1/9 failed; will retry: GET /apis -> ClientConnectionError('Connection refused')")

    messages = [json.loads(line)["message"] for line in stream.getvalue().splitlines()]
    assert [message.rpartition(" -> ")[2] for message in messages] == [
        "the scaling loop ended: Connector is closed",
        "ClientConnectionError('Connection refused')",
    ]
