"""The course of one fetch, from a request to versions in place."""

from __future__ import annotations

import asyncio
import time

from tfserving_operator.fetch.disk import translated_disk_errors
from tfserving_operator.fetch.errors import FetchError
from tfserving_operator.fetch.log import log
from tfserving_operator.fetch.request import Fetched, FetchRequest
from tfserving_operator.fetch.source import ArchiveSource, ObjectStoreSource
from tfserving_operator.fetch.staging import ModelDirectory
from tfserving_operator.fetch.termination import FetchReason, FetchSuccess

_MAY_USE_EARLIER = (FetchReason.SourceUnavailable, FetchReason.Timeout)


async def fetch_model(request: FetchRequest) -> FetchSuccess:
    """Bring the chosen versions into place, then remove those that we fetched and that are no longer chosen.

    When the source cannot be reached, versions of an earlier fetch from it serve on: a node's restart
    during an outage of the store must not take a model down.
    """
    started = time.monotonic()
    directory = ModelDirectory(request.destination, request.model)
    with translated_disk_errors(request.destination.path, what=request.model):
        try:
            fetched = await _fetch_in_time(request, directory)
        except FetchError as error:
            earlier = _earlier_versions(request, directory) if error.reason in _MAY_USE_EARLIER else ()
            if not earlier:
                raise
            log.warning("using versions fetched earlier", extra={"versions": earlier, "error": error.message})
            return FetchSuccess(earlier, 0, time.monotonic() - started, stale=True)
        directory.remove_unchosen(set(fetched.versions))
    return FetchSuccess(fetched.versions, fetched.bytes_fetched, time.monotonic() - started)


async def _fetch_in_time(request: FetchRequest, directory: ModelDirectory) -> Fetched:
    try:
        async with asyncio.timeout(request.timeout_seconds):
            return await _fetch(request, directory)
    except TimeoutError as error:
        raise FetchError(
            FetchReason.Timeout,
            f"Fetching from {request.source.display} took longer than {request.timeout_seconds:g} s. What has arrived "
            "is kept and the next try goes on from there; if it happens again, look at the link or allow more time.",
        ) from error


async def _fetch(request: FetchRequest, directory: ModelDirectory) -> Fetched:
    specific = request.policy.specific
    if specific and all(directory.is_complete(version, identity=request.source.identity) for version in specific):
        directory.clean(keep=set())
        log.info("all versions are in place", extra={"versions": specific})
        return Fetched(specific, 0)
    match request.source:
        case ObjectStoreSource() as source:
            from tfserving_operator.fetch.bucket_fetch import fetch_from_bucket

            return await fetch_from_bucket(request, source, directory)
        case ArchiveSource() as source:
            from tfserving_operator.fetch.archive_fetch import fetch_archives

            return await fetch_archives(request, source, directory)


def _earlier_versions(request: FetchRequest, directory: ModelDirectory) -> tuple[int, ...]:
    ours = {v for v in directory.versions() if directory.is_complete(v, identity=request.source.identity)}
    try:
        return request.policy.choose(ours, where=str(directory.root))
    except FetchError:
        return ()
