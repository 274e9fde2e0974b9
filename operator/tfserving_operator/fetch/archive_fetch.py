"""Fetches versions that come as archives over HTTP."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp

from tfserving_operator.fetch.archive import unpack
from tfserving_operator.fetch.archive_download import ArchiveDownload, Validators
from tfserving_operator.fetch.archive_layout import find_versions
from tfserving_operator.fetch.disk import Volume, is_lack_of_space
from tfserving_operator.fetch.errors import FetchError
from tfserving_operator.fetch.http_client import authorization, open_session
from tfserving_operator.fetch.log import log
from tfserving_operator.fetch.request import Fetched, FetchRequest
from tfserving_operator.fetch.source import VERSION_PLACEHOLDER, ArchiveSource
from tfserving_operator.fetch.staging import FetchedMarker, ModelDirectory, require_model
from tfserving_operator.fetch.termination import FetchReason
from tfserving_operator.fetch.versions import VersionPolicy

_RECORD_NAME = ".archive.json"
_ARCHIVE = "archive"


@dataclass(frozen=True)
class ArchiveRecord:
    """What the archive fetched last held, so that it is fetched again only when it changed."""

    validators: Validators
    versions: tuple[int, ...]


async def fetch_archives(request: FetchRequest, source: ArchiveSource, directory: ModelDirectory) -> Fetched:
    """Bring the versions that the policy chooses into place."""
    async with open_session(request.credentials) as session:
        fetch = _ArchiveFetch(request, directory, session)
        if source.has_placeholder:
            return await fetch.one_archive_per_version(source)
        return await fetch.one_archive(source)


class _ArchiveFetch:
    def __init__(self, request: FetchRequest, directory: ModelDirectory, session: aiohttp.ClientSession) -> None:
        self._request, self._directory, self._session = request, directory, session
        self._fetched_bytes = 0

    async def one_archive_per_version(self, source: ArchiveSource) -> Fetched:
        versions = tuple(sorted(set(self._request.policy.specific)))
        if not versions or (source.sha256 and len(versions) > 1):
            trouble = "one #sha256= cannot fit several archives" if versions else "a web server cannot list versions"
            raise FetchError(
                FetchReason.InvalidSource,
                f"The URL {source.display} has {VERSION_PLACEHOLDER} in it, but {trouble}: "
                "choose specific versions, and one at a time with #sha256=.",
            )
        missing = [v for v in versions if not self._directory.is_complete(v, identity=source.identity)]
        self._directory.clean(keep={str(version) for version in missing})
        for version in missing:
            await self._fetch_version(source, version)
        return self._done(versions)

    async def _fetch_version(self, source: ArchiveSource, version: int) -> None:
        of_version, policy = source.for_version(version), VersionPolicy(specific=(version,))
        try:
            _, found = await self._unpacked(of_version, str(version), policy, known=None)
        except FetchError as error:
            if error.reason is not FetchReason.ModelPathNotFound:
                raise
            raise FetchError(FetchReason.VersionNotFound, f"Version {version}: {error.message}") from error
        await self._publish(source, str(version), policy, found, where=of_version.display)

    async def one_archive(self, source: ArchiveSource) -> Fetched:
        record = self._usable_record(source)
        if record and source.sha256:
            return self._done(self._request.policy.choose(record.versions, where=source.display))
        self._directory.clean(keep={_ARCHIVE})
        validators, found = await self._unpacked(
            source, _ARCHIVE, self._request.policy, known=record.validators if record else None
        )
        if validators is None and record:
            log.info("archive has not changed", extra={"source": source.display})
            return self._done(self._request.policy.choose(record.versions, where=source.display))
        chosen = await self._publish(source, _ARCHIVE, self._request.policy, found, where=source.display)
        if validators:
            self._write_record(ArchiveRecord(validators, tuple(found)))
        return self._done(chosen)

    async def _unpacked(
        self, source: ArchiveSource, staging_name: str, policy: VersionPolicy, *, known: Validators | None
    ) -> tuple[Validators | None, dict[int, Path]]:
        staging = self._directory.staging(staging_name)
        tree = staging / "tree"
        headers = authorization(self._request.credentials)
        download = ArchiveDownload(self._session, source, headers, staging=staging, volume=self._directory.volume)
        validators = await download.run(attempts=self._request.attempts, known=known)
        if validators is None:
            return None, {}
        self._fetched_bytes += download.path.stat().st_size
        shutil.rmtree(tree, ignore_errors=True)
        with _dropped_if_useless(staging):
            await _unpack_in_thread(download.path, tree, self._directory.volume, what=source.display)
            return validators, find_versions(tree, policy, what=source.display)

    async def _publish(
        self, source: ArchiveSource, staging_name: str, policy: VersionPolicy, found: dict[int, Path], *, where: str
    ) -> tuple[int, ...]:
        with _dropped_if_useless(self._directory.staging(staging_name)):
            return await self._put_in_place(source, policy, found, where=where)

    async def _put_in_place(
        self, source: ArchiveSource, policy: VersionPolicy, found: dict[int, Path], *, where: str
    ) -> tuple[int, ...]:
        chosen = policy.choose(found, where=where)
        missing = [v for v in chosen if not self._directory.is_complete(v, identity=source.identity)]
        for version in missing:
            require_model(found[version], what=f"Version {version} of {where}")
        for version in missing:
            size = sum(path.stat().st_size for path in found[version].rglob("*") if path.is_file())
            marker = FetchedMarker(source.display, source.identity, size)
            await asyncio.to_thread(self._directory.publish, version, found[version], marker)
        return chosen

    def _usable_record(self, source: ArchiveSource) -> ArchiveRecord | None:
        record = _read_record(self._directory.root / _RECORD_NAME)
        if record is None or record.validators.identity != source.identity:
            return None
        try:
            chosen = self._request.policy.choose(record.versions, where=source.display)
        except FetchError:
            return None
        complete = all(self._directory.is_complete(v, identity=source.identity) for v in chosen)
        return record if complete else None

    def _write_record(self, record: ArchiveRecord) -> None:
        temporary = self._directory.staging("record")
        temporary.write_text(json.dumps(asdict(record)), encoding="utf-8")
        temporary.rename(self._directory.root / _RECORD_NAME)

    def _done(self, versions: tuple[int, ...]) -> Fetched:
        self._directory.clean(keep=set())
        return Fetched(versions, self._fetched_bytes)


@contextmanager
def _dropped_if_useless(staging: Path) -> Iterator[None]:
    """Remove the archive when the block fails, as it may be replaced at its URL by one that does not.

    One without room to unpack need not come over the network again, nor one whose fetch was told to stop.
    """
    try:
        yield
    except Exception as error:
        shutil.rmtree(staging / "tree" if is_lack_of_space(error) else staging, ignore_errors=True)
        raise


async def _unpack_in_thread(archive: Path, tree: Path, volume: Volume, *, what: str) -> None:
    log.info("unpacking", extra={"source": what})
    stop = threading.Event()
    try:
        await asyncio.to_thread(unpack, archive, tree, volume, what=what, stop=stop)
    finally:
        stop.set()


def _read_record(path: Path) -> ArchiveRecord | None:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return ArchiveRecord(Validators(**fields["validators"]), tuple(int(version) for version in fields["versions"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
