"""Fetches versions from a bucket."""

from __future__ import annotations

import asyncio
from functools import partial

from tfserving_operator.fetch.log import Progress, log
from tfserving_operator.fetch.object_store import ModelBucket
from tfserving_operator.fetch.request import Fetched, FetchRequest
from tfserving_operator.fetch.retrying import retried
from tfserving_operator.fetch.source import ObjectStoreSource
from tfserving_operator.fetch.staging import FetchedMarker, ModelDirectory, require_model
from tfserving_operator.fetch.version_download import VersionDownload
from tfserving_operator.fetch.versions import index_versions


async def fetch_from_bucket(request: FetchRequest, source: ObjectStoreSource, directory: ModelDirectory) -> Fetched:
    """Bring the versions that the policy chooses into place."""
    bucket = ModelBucket(source, request.credentials, timeout_seconds=request.timeout_seconds)
    names_by_version = await _list_versions(bucket, attempts=request.attempts)
    chosen = request.policy.choose(names_by_version, where=bucket.where)
    log.info("versions chosen", extra={"source": source.display, "chosen": chosen, "existing": len(names_by_version)})
    missing = [version for version in chosen if not directory.is_complete(version, identity=source.identity)]
    directory.clean(keep={str(version) for version in missing})
    downloads: dict[int, VersionDownload] = {}
    for version in missing:
        files = await retried(partial(bucket.list_files, names_by_version[version]), attempts=request.attempts)
        staging = directory.staging(str(version))
        downloads[version] = VersionDownload(bucket, version, files, staging, attempts=request.attempts)
    progress = await _download(request, source, directory, downloads)
    directory.clean(keep=set())
    return Fetched(chosen, progress.fetched_bytes)


async def _list_versions(bucket: ModelBucket, *, attempts: int) -> dict[int, str]:
    names_by_version, hidden = index_versions(await retried(bucket.list_version_names, attempts=attempts))
    if hidden:
        log.warning("directories hidden by another name of the same version", extra={"hidden": hidden})
    return names_by_version


async def _download(
    request: FetchRequest, source: ObjectStoreSource, directory: ModelDirectory, downloads: dict[int, VersionDownload]
) -> Progress:
    needed_bytes = sum(download.missing_bytes for download in downloads.values())
    listed = ", ".join(str(version) for version in list(downloads)[:10])
    directory.volume.require_free(needed_bytes, what=f"{source.display} (version {listed})")
    progress = Progress(total_bytes=sum(download.missing_content_bytes for download in downloads.values()))
    slots = asyncio.Semaphore(request.concurrency)
    for version, download in downloads.items():
        tree = await download.run(slots=slots, progress=progress)
        require_model(tree, what=f"Version {version} of {source.display}")
        marker = FetchedMarker(source.display, source.identity, download.size_bytes)
        await asyncio.to_thread(directory.publish, version, tree, marker)
    return progress
