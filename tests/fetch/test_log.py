from __future__ import annotations

import json
import logging

import pytest

from tfserving_operator.fetch.disk import human_size
from tfserving_operator.fetch.log import JsonLineFormatter, Progress, log


def test_record_becomes_one_line_with_its_fields() -> None:
    record = logging.makeLogRecord({"msg": "two\nlines", "levelname": "INFO", "version": 3, "created": 0.0})
    assert json.loads(JsonLineFormatter(model="m").format(record)) == {
        "time": "1970-01-01T00:00:00.000+00:00",
        "level": "info",
        "message": "two\nlines",
        "model": "m",
        "version": 3,
    }
    assert "\n" not in JsonLineFormatter(model="m").format(record)


def test_progress_is_logged_at_most_every_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    records: list[logging.LogRecord] = []
    monkeypatch.setattr(log, "handle", records.append)
    monkeypatch.setattr(log, "isEnabledFor", lambda _level: True)
    progress = Progress(total_bytes=1000 << 20, clock=lambda: now)
    for second in range(12):
        now = float(second)
        progress.add(50 << 20)
    lines = [vars(record) for record in records]
    assert [(line["fetched_bytes"] >> 20, line["percent"], line["rate"]) for line in lines] == [
        (300, 30.0, "60.0 MiB/s"),
        (550, 55.0, "50.0 MiB/s"),
    ]


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536 << 20, "1.5 GiB"), (1 << 53, "8192.0 TiB")],
)
def test_sizes_are_written_as_people_do(size_bytes: int, text: str) -> None:
    assert human_size(size_bytes) == text
