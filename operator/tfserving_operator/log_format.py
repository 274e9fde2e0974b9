"""Log lines in one format, whoever writes them: the operator, kopf, or a library."""

from __future__ import annotations

import logging
import sys
from typing import Any, Final, TextIO

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from tfserving_operator.settings import LogFormat, LogLevel

MAX_FIELD_LENGTH: Final = 1000
_KOPF_ATTRIBUTES: Final = frozenset({"k8s_skip", "k8s_ref", "settings"})
_RESERVED: Final = frozenset(RESERVED_ATTRS) | _KOPF_ATTRIBUTES | {"taskName", "color_message"}
# Below the operator's own level: kopf reports every event it sees, aiohttp every probe, asyncio every selector, grpc
# every call.
_QUIETER: Final = {
    "kopf": logging.INFO,
    "kubernetes": logging.INFO,
    "asyncio": logging.WARNING,
    "aiohttp": logging.WARNING,
    "grpc": logging.INFO,
}

# kopf goes on reading while it closes its own connections, and tells of each such request as an error.
_OF_ITS_OWN_END: Final = ("Connector is closed", "Session is closed")


def configure_logging(log_format: LogFormat, level: LogLevel, *, stream: TextIO | None = None) -> None:
    """Send all logs to ``stream`` (standard error when left out) in one format."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_json_formatter() if log_format == "json" else _TextFormatter())
    handler.addFilter(_is_news)
    handler.addFilter(_prepare)
    threshold = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=threshold, handlers=[handler], force=True)
    for name, least in _QUIETER.items():
        logging.getLogger(name).setLevel(max(least, threshold))
    # One line a handler call; what they do is logged where it is done.
    for name in ("kopf.objects", "kopf.activities", "kopf._core.engines.activities"):
        logging.getLogger(name).setLevel(max(logging.WARNING, threshold))
    logging.captureWarnings(True)


def _json_formatter() -> logging.Formatter:
    return JsonFormatter(
        "%(levelname)s %(name)s %(message)s",
        rename_fields={"levelname": "level", "name": "logger"},
        reserved_attrs=sorted(_RESERVED),
        timestamp=True,
    )


class _TextFormatter(logging.Formatter):
    """``time level logger message key=value …``."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        fields = {key: value for key, value in vars(record).items() if key not in _RESERVED}
        return " ".join([super().formatMessage(record), *(f"{key}={value}" for key, value in fields.items())])


def _is_news(record: logging.LogRecord) -> bool:
    if not record.name.startswith("kopf"):
        return True
    message = record.getMessage()
    return not any(words in message for words in _OF_ITS_OWN_END)


def _prepare(record: logging.LogRecord) -> bool:
    """Name the object that kopf speaks of, and cut long values: an API error may quote a whole pod spec."""
    reference = getattr(record, "k8s_ref", None)
    if reference:
        record.object = f"{reference.get('kind')} {reference.get('namespace')}/{reference.get('name')}"
    for key, value in vars(record).items():
        if key not in _RESERVED:
            setattr(record, key, _short(value))
    if isinstance(record.msg, str) and not record.args:
        record.msg = _short(record.msg)
    return True


def _short(value: Any) -> Any:
    text = value if isinstance(value, str) else repr(value) if isinstance(value, (dict, list)) else None
    if text is None or len(text) <= MAX_FIELD_LENGTH:
        return value
    return text[: MAX_FIELD_LENGTH - 1] + "…"
