"""Downloads the objects of one version in parts, several at once, so that a broken download goes on where it was.

Large files are split: one connection seldom fills a link. Each part is on the disk before the journal names it,
so after a crash the journal never promises more than there is.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tfserving_operator.fetch.disk import translated_disk_errors
from tfserving_operator.fetch.encrypted_objects import etag_is_not_md5
from tfserving_operator.fetch.errors import FetchError
from tfserving_operator.fetch.log import Progress, log
from tfserving_operator.fetch.object_store import ModelBucket, RemoteFile
from tfserving_operator.fetch.retrying import retried
from tfserving_operator.fetch.source import quoted
from tfserving_operator.fetch.staging import require_model_files
from tfserving_operator.fetch.termination import FetchReason

PART_BYTES = 32 << 20
_BLOCK_BYTES = 4096
_FILE_COUNT_LIMIT = 100_000


@dataclass(frozen=True)
class Part:
    """A range of a file, fetched in one request."""

    file: RemoteFile
    start: int
    end: int


class Journal:
    """Which parts are on the disk, one JSON line each; a torn last line counts as not written."""

    def __init__(self, path: Path) -> None:
        """Read what an earlier run wrote."""
        self._path = path
        self._done: set[tuple[object, ...]] = set()
        if path.is_file():
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    self._done.add(tuple(json.loads(line)))
                except (ValueError, TypeError):
                    continue

    def holds(self, part: Part) -> bool:
        """Return whether ``part`` of exactly this object was recorded."""
        return _entry(part) in self._done

    def record(self, part: Part) -> None:
        """Record ``part``, which must be on the disk."""
        entry = _entry(part)
        with self._path.open("a", encoding="utf-8") as file:
            # The newline comes first: it ends a line that a crash may have torn.
            file.write(f"\n{json.dumps(entry)}")
        self._done.add(entry)

    def forget(self, file: RemoteFile) -> None:
        """Forget all parts of ``file``."""
        self._done = {entry for entry in self._done if entry[0] != file.path}
        self._path.write_text("\n".join(json.dumps(entry) for entry in self._done), encoding="utf-8")


class VersionDownload:
    """One version on its way into a staging directory."""

    def __init__(
        self, bucket: ModelBucket, version: int, files: list[RemoteFile], staging: Path, *, attempts: int
    ) -> None:
        """Take stock of what is there already; nothing is fetched yet."""
        self._what = f"version {version} of {bucket.source.display}"
        require_model_files({file.path for file in files}, what=self._what[0].upper() + self._what[1:])
        _require_sane_paths(files, what=self._what)
        self._bucket, self._attempts = bucket, attempts
        self._files = files
        self._directories = _directories_of(files)
        self._staging = staging
        self.tree = staging / "tree"
        self.size_bytes = sum(file.size_bytes for file in files)
        self._journal = Journal(staging / "journal.jsonl")
        self._missing = [part for file in files for part in split_into_parts(file) if not self._has(part)]

    @property
    def missing_bytes(self) -> int:
        """The room that is still to be filled on the disk, in whole blocks."""
        return sum(-(-(part.end - part.start) // _BLOCK_BYTES) * _BLOCK_BYTES for part in self._missing)

    @property
    def missing_content_bytes(self) -> int:
        """How much is still to be fetched."""
        return sum(part.end - part.start for part in self._missing)

    async def run(self, *, slots: asyncio.Semaphore, progress: Progress) -> Path:
        """Fetch what is missing and return the directory that holds the verified version."""
        with translated_disk_errors(self._staging.parent, what=self._what):
            self._prepare()
            await self._fetch_all(self._missing, slots, progress)
            for file in self._files:
                if file.size_bytes and not await self._is_intact(file):
                    log.warning("checksum differs, fetching once more", extra={"file": file.path})
                    await self._fetch_again(file, slots, progress)
        return self.tree

    def _has(self, part: Part) -> bool:
        return self._journal.holds(part) and (self.tree / part.file.path).is_file()

    def _prepare(self) -> None:
        self.tree.mkdir(parents=True, exist_ok=True)
        sizes = {file.path: file.size_bytes for file in self._files}
        for path in [path for path in self.tree.rglob("*") if path.is_file()]:
            size_bytes = sizes.get(str(path.relative_to(self.tree)))
            if size_bytes is None or path.stat().st_size > size_bytes:
                path.unlink()
        log.info(
            "fetching version"
            if len(self._missing) == sum(len(split_into_parts(f)) for f in self._files)
            else "resuming",
            extra={"source": self._what, "files": len(self._files), "missing_bytes": self.missing_content_bytes},
        )

    async def _fetch_all(self, parts: list[Part], slots: asyncio.Semaphore, progress: Progress) -> None:
        async def fetch_one(part: Part) -> None:
            async with slots:
                await retried(lambda: self._fetch(part, progress), attempts=self._attempts)

        try:
            async with asyncio.TaskGroup() as group:
                for part in parts:
                    group.create_task(fetch_one(part))
        except BaseExceptionGroup as failures:
            # The first failure is what happened; the others are its echoes.
            raise failures.exceptions[0] from failures

    async def _fetch(self, part: Part, progress: Progress) -> None:
        path = self.tree / part.file.path
        if await self._is_directory(part.file):
            path.mkdir(parents=True, exist_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            offset = part.start
            if part.end > part.start:
                async for chunk in self._bucket.read_range(part.file, part.start, part.end):
                    await asyncio.to_thread(_write_fully, descriptor, chunk, offset)
                    offset += len(chunk)
                    progress.add(len(chunk))
            await asyncio.to_thread(os.fsync, descriptor)
        finally:
            os.close(descriptor)
        self._journal.record(part)

    async def _is_directory(self, file: RemoteFile) -> bool:
        if file.size_bytes:
            return False
        return file.path in self._directories or await self._bucket.is_directory_marker(file)

    async def _is_intact(self, file: RemoteFile) -> bool:
        path = self.tree / file.path
        if path.stat().st_size != file.size_bytes:
            return False
        if file.md5 is None:
            return True
        if await asyncio.to_thread(_md5_of, path) == file.md5:
            return True
        return await etag_is_not_md5(self._bucket, file)

    async def _fetch_again(self, file: RemoteFile, slots: asyncio.Semaphore, progress: Progress) -> None:
        self._journal.forget(file)
        (self.tree / file.path).unlink()
        await self._fetch_all(split_into_parts(file), slots, progress)
        if not await self._is_intact(file):
            self._journal.forget(file)
            (self.tree / file.path).unlink()
            raise FetchError(
                FetchReason.ChecksumMismatch,
                f"{quoted(file.path)} in {self._what} does not have the checksum that the store lists for it, twice "
                f"(MD5 {file.md5}, {file.size_bytes} bytes). Upload the version anew, under a new number.",
            )


def split_into_parts(file: RemoteFile) -> list[Part]:
    """Return the parts of ``file`` in order; an empty file is one empty part."""
    starts = range(0, max(file.size_bytes, 1), PART_BYTES)
    return [Part(file, start, min(start + PART_BYTES, file.size_bytes)) for start in starts]


def _require_sane_paths(files: list[RemoteFile], *, what: str) -> None:
    directories = _directories_of(files)
    bad = next((file.path for file in files if _is_odd(file, directories)), None)
    if bad is not None or len(files) > _FILE_COUNT_LIMIT:
        trouble = f"an object with the odd name {quoted(bad)}" if bad else f"more than {_FILE_COUNT_LIMIT} objects"
        raise FetchError(
            FetchReason.InvalidModel, f"{what} holds {trouble}. Publish only the SavedModel's files, as a new version."
        )


def _is_odd(file: RemoteFile, directories: set[str]) -> bool:
    names = file.path.split("/")
    has_odd_name = any(name in ("", ".", "..") or "\0" in name or len(name.encode()) > 255 for name in names)
    return has_odd_name or (file.size_bytes > 0 and file.path in directories)


def _directories_of(files: list[RemoteFile]) -> set[str]:
    return {str(parent) for file in files for parent in PurePosixPath(file.path).parents}


def _entry(part: Part) -> tuple[object, ...]:
    return (part.file.path, part.file.size_bytes, part.file.etag, part.start, part.end)


def _write_fully(descriptor: int, chunk: bytes, offset: int) -> None:
    view = memoryview(chunk)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _md5_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
