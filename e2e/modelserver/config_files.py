"""Reads the text protos that flags name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

from e2e.modelserver.statuses import Code, StatusError, status_of

MessageType = TypeVar("MessageType", bound=Message)

# Expanded Any messages name TensorFlow Serving's package; the copies here live in one of their own.
FOREIGN_TYPE = re.compile(r"\[type\.googleapis\.com/tensorflow\.serving\.(\w+)\]")
OWN_TYPE = r"[type.googleapis.com/modelserver.wire.\1]"


def read_text_proto(path: str, message: MessageType) -> MessageType:
    """Return ``message`` filled from the file at ``path``; an unknown field makes the whole file invalid."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        status = status_of(error)
        raise StatusError(status.code, status.message) from error
    if not content:
        # The real server maps files into memory, which the kernel refuses for none at all (EINVAL).
        raise StatusError(Code.INVALID_ARGUMENT, f"{path}; Invalid argument")
    try:
        return text_format.Parse(FOREIGN_TYPE.sub(OWN_TYPE, content.decode()), message)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise _invalid(path) from error


def _invalid(path: str) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, f"Invalid protobuf file: '{path}'")
