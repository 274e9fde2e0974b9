"""The fetcher's log: one JSON line a step on standard output, and progress at most every few seconds."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

from tfserving_operator.fetch.disk import human_size

PROGRESS_INTERVAL_SECONDS = 5.0
_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}

log = logging.getLogger("tfserving_operator.fetch")


class JsonLineFormatter(logging.Formatter):
    """Formats a record and its extra fields as one line of JSON."""

    def __init__(self, *, model: str) -> None:
        """Name ``model`` in every line."""
        super().__init__()
        self._model = model

    def format(self, record: logging.LogRecord) -> str:
        """Return the line for ``record``."""
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD_FIELDS}
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "model": self._model,
            **extra,
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False, default=str).encode(errors="replace").decode()


def configure_logging(*, model: str) -> None:
    """Send this package's log, and nothing else, to standard output."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLineFormatter(model=model))
    log.handlers = [handler]
    log.propagate = False
    log.setLevel(logging.INFO)


class Progress:
    """Counts fetched bytes and logs them now and then."""

    def __init__(self, *, total_bytes: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """Start counting towards ``total_bytes``, None when it is not known."""
        self.fetched_bytes = 0
        self.total_bytes = total_bytes
        self._clock = clock
        self._logged_bytes = 0
        self._logged_at: float | None = None

    def add(self, count_bytes: int) -> None:
        """Count ``count_bytes`` more, and log if the last line is long enough ago."""
        now = self._clock()
        if self._logged_at is None:
            self._logged_at = now
        self.fetched_bytes += count_bytes
        elapsed_seconds = now - self._logged_at
        if elapsed_seconds < PROGRESS_INTERVAL_SECONDS:
            return
        rate = int((self.fetched_bytes - self._logged_bytes) / elapsed_seconds)
        self._logged_at, self._logged_bytes = now, self.fetched_bytes
        fields: dict[str, object] = {"fetched_bytes": self.fetched_bytes, "rate": f"{human_size(rate)}/s"}
        if self.total_bytes:
            fields["total_bytes"] = self.total_bytes
            fields["percent"] = round(100 * self.fetched_bytes / self.total_bytes, 1)
        log.info("fetching", extra=fields)
