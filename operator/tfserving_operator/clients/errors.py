"""What can go wrong in a client. Nothing above sees an exception of another library.

ClientError
├── Unavailable   no answer, or one that says "later": worth trying again, unchanged
├── Conflict      somebody else was faster, or owns a field: observe again
├── NotFound      the object, its namespace or its kind is not there
├── Gone          a list or watch position is too old: list again
└── Rejected      understood and refused: trying again unchanged cannot help
"""

from __future__ import annotations

from dataclasses import dataclass


class ClientError(Exception):
    """A call failed; ``str()`` says what and why in words that may stand in a status."""


class Unavailable(ClientError):
    """Nothing answered, or it asked to come back later."""

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Conflict(ClientError):
    """The object changed meanwhile, exists already, or another field manager owns what was to be written.

    ``field_managers`` names those others; empty for the first two cases.
    """

    def __init__(self, message: str, *, field_managers: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.field_managers = field_managers


class NotFound(ClientError):
    """The object, its namespace or its kind does not exist."""


class Gone(ClientError):
    """The API server no longer knows the position to go on from."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One fault in what was sent: ``field`` is a path such as ``spec.replicas``, empty where none is named."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class Rejected(ClientError):
    """The API server refused: invalid, forbidden (rights, quota, Pod Security, a webhook) or malformed.

    ``reason`` is the server's own word: Invalid, Forbidden, BadRequest, Unauthorized …
    """

    def __init__(self, message: str, *, reason: str, causes: tuple[Cause, ...] = ()) -> None:
        super().__init__(message)
        self.reason = reason
        self.causes = causes
