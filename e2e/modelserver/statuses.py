"""Status codes as the model server uses them: one enum for gRPC, REST, metrics and logs."""

from __future__ import annotations

import enum
import errno
import logging
from dataclasses import dataclass

log = logging.getLogger(__name__)

GRPC_MESSAGE_LIMIT_CHARACTERS = 1024


class Code(enum.IntEnum):
    """Canonical codes; the numbers are those on the wire."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


HTTP_STATUS_BY_CODE: dict[Code, int] = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}

CODE_BY_ERRNO: dict[int, Code] = {
    errno.ENOENT: Code.NOT_FOUND,
    errno.EACCES: Code.PERMISSION_DENIED,
    errno.EPERM: Code.PERMISSION_DENIED,
    errno.EISDIR: Code.FAILED_PRECONDITION,
    errno.ENOTDIR: Code.FAILED_PRECONDITION,
    errno.EINVAL: Code.INVALID_ARGUMENT,
    errno.ENAMETOOLONG: Code.INVALID_ARGUMENT,
    errno.EMFILE: Code.RESOURCE_EXHAUSTED,
    errno.ENOMEM: Code.RESOURCE_EXHAUSTED,
}
"""What the errors of system calls are in the real server; any other is UNKNOWN."""


@dataclass(frozen=True)
class Status:
    """A code and, unless OK, a message."""

    code: Code = Code.OK
    message: str = ""

    @property
    def ok(self) -> bool:
        return self.code is Code.OK

    def __str__(self) -> str:
        return "OK" if self.ok else f"{self.code.name}: {self.message}"


OK = Status()


class StatusError(Exception):
    """A failed operation, to be answered with ``status``."""

    def __init__(self, code: Code, message: str) -> None:
        self.status = Status(code, message)
        super().__init__(str(self.status))


def status_of(error: Exception) -> Status:
    """Return the status that ``error`` is answered with.

    What nobody foresaw is a defect of the stand-in itself: INTERNAL, and the log has the traceback.
    """
    match error:
        case StatusError():
            return error.status
        case OSError():
            return Status(CODE_BY_ERRNO.get(error.errno or 0, Code.UNKNOWN), f"{error.filename}; {error.strerror}")
        case MemoryError():
            return Status(Code.RESOURCE_EXHAUSTED, "Out of memory")
        case _:
            log.error("the stand-in itself failed", exc_info=error)
            return Status(Code.INTERNAL, f"{type(error).__name__}: {error}")


def grpc_message(message: str) -> str:
    """Return ``message`` as the server sends it over gRPC: cut when it would not fit the trailers."""
    if len(message) <= GRPC_MESSAGE_LIMIT_CHARACTERS:
        return message
    return message[:GRPC_MESSAGE_LIMIT_CHARACTERS] + "...TRUNCATED"
