"""Tries again what may pass, with growing pauses, and logs each pause."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from tfserving_operator.fetch.errors import FetchError, TransientError
from tfserving_operator.fetch.log import log
from tfserving_operator.fetch.termination import FetchReason

DEFAULT_ATTEMPTS = 6
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 15.0

Result = TypeVar("Result")


async def retried(operation: Callable[[], Awaitable[Result]], *, attempts: int) -> Result:
    """Return what ``operation`` returns, trying up to ``attempts`` times over transient failures.

    The last failure is raised as a plain ``FetchError`` that says how often it was tried.
    """
    retrying = AsyncRetrying(
        stop=stop_after_attempt(attempts),
        wait=wait_exponential_jitter(
            multiplier=_FIRST_PAUSE_SECONDS, max=_LONGEST_PAUSE_SECONDS, jitter=_FIRST_PAUSE_SECONDS
        ),
        retry=retry_if_exception_type(TransientError),
        before_sleep=_log_pause,
        reraise=True,
    )

    async def attempt() -> Result:  # tenacity awaits only what it can see to be a coroutine function.
        return await operation()

    try:
        return await retrying(attempt)
    except TransientError as error:
        raise FetchError(FetchReason.SourceUnavailable, f"{error.message} (tried {attempts} times)") from error


def _log_pause(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning(
        "trying again",
        extra={
            "attempt": state.attempt_number,
            "pause_seconds": round(state.upcoming_sleep, 1),
            "error": error.message if isinstance(error, FetchError) else str(error),
        },
    )
