"""The one exception of this package: a failure that a user can act on.

``FetchError`` carries the reason and the sentence that end up in the termination message. Errors of
libraries are translated where they are called: ``store_errors`` for object stores, ``http_archive`` for HTTP.
``TransientError`` is a ``FetchError`` that is worth another try.
"""

from __future__ import annotations

from tfserving_operator.fetch.termination import FetchReason


class FetchError(Exception):
    """A fetch cannot go on; ``message`` says what was tried, what came back and what to do."""

    def __init__(self, reason: FetchReason, message: str) -> None:
        """Keep ``reason`` and ``message`` for the termination message."""
        super().__init__(message)
        self.reason = reason
        self.message = message


class TransientError(FetchError):
    """A failure that may pass: an answer of 5xx or 429, a timeout, a broken connection."""

    def __init__(self, message: str) -> None:
        """Make a failure that is reported as ``SourceUnavailable`` if it does not pass."""
        super().__init__(FetchReason.SourceUnavailable, message)
