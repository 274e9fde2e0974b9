"""Downloads one archive, going on where an earlier try ended if the server can and the file is still the same."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import aiohttp

from tfserving_operator.fetch.disk import Allowance, Volume
from tfserving_operator.fetch.errors import FetchError, TransientError
from tfserving_operator.fetch.http_client import requested
from tfserving_operator.fetch.log import Progress, log
from tfserving_operator.fetch.retrying import retried
from tfserving_operator.fetch.source import ArchiveSource
from tfserving_operator.fetch.termination import FetchReason

_CHUNK_BYTES = 1 << 20
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)")


@dataclass(frozen=True)
class Validators:
    """What tells one state of the file at a URL from another."""

    identity: str
    etag: str | None = None
    last_modified: str | None = None
    size_bytes: int | None = None

    @property
    def if_range(self) -> str | None:
        """The value for If-Range: a strong ETag, else the date."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.last_modified

    def go_on_in(self, response: aiohttp.ClientResponse, *, at_byte: int) -> bool:
        """Return whether a partial answer belongs to this state of the file and begins at ``at_byte``.

        Not every server that knows ranges knows If-Range.
        """
        start, total = _content_range(response)
        now = _validators_of(response, self.identity)
        pairs = (
            (self.etag, now.etag),
            (self.last_modified, now.last_modified),
            (self.size_bytes, total),
        )
        return start == at_byte and all(old == new for old, new in pairs if old is not None and new is not None)

    def unless_changed(self) -> dict[str, str]:
        """Return the headers that ask for the file only if it is another than this one."""
        if self.etag:
            return {"If-None-Match": self.etag}
        return {"If-Modified-Since": self.last_modified} if self.last_modified else {}


class ArchiveDownload:
    """The archive of ``source`` on its way into a staging directory."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        source: ArchiveSource,
        headers: Mapping[str, str],
        *,
        staging: Path,
        volume: Volume,
    ) -> None:
        """Name the places; nothing is read or sent yet."""
        self._session, self._source, self._headers = session, source, dict(headers)
        self._volume = volume
        self.path = staging / "archive"
        self._validators_path = staging / "archive.json"
        self._furthest_bytes = 0

    async def run(self, *, attempts: int, known: Validators | None = None) -> Validators | None:
        """Fetch and verify; return what identifies the archive, or None when it is still the ``known`` one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._furthest_bytes = self._size()
        progress = Progress()
        while True:
            step = await retried(lambda: self._step(known, progress), attempts=attempts)
            if step is _NOT_MODIFIED:
                return None
            if step is _COMPLETE:
                break
        await self._verify()
        return self._read_validators()

    async def _step(self, known: Validators | None, progress: Progress) -> object:
        """Make one request; a break after some progress costs no attempt."""
        have = self._read_validators()
        size = self._size() if have and have.if_range else 0
        if have and size and size == have.size_bytes:
            return _COMPLETE
        try:
            return await self._request(have, size, known, progress)
        except TransientError as error:
            if (reached := self._size()) <= self._furthest_bytes:
                raise
            self._furthest_bytes = reached
            log.warning("connection broke, resuming", extra={"at_bytes": reached, "error": error.message})
            return _BROKEN

    async def _request(
        self, have: Validators | None, size: int, known: Validators | None, progress: Progress
    ) -> object:
        headers = dict(self._headers)
        if have and size and have.if_range:
            headers |= {"Range": f"bytes={size}-", "If-Range": have.if_range}
        elif known:
            headers |= known.unless_changed()
        async with requested(self._session, self._source.url, headers, where=self._source.display) as response:
            if response.status == 304:
                return _NOT_MODIFIED
            if response.status == 416:
                self.path.unlink(missing_ok=True)
                raise TransientError(f"{self._source.display} answered 416 to a request to go on at byte {size}.")
            is_continued = response.status == 206
            if is_continued and not (have and have.go_on_in(response, at_byte=size)):
                self.path.unlink(missing_ok=True)
                raise TransientError(f"{self._source.display} went on with another file or byte than it was asked to.")
            await self._receive(response, append=is_continued, progress=progress)
        return _COMPLETE

    async def _receive(self, response: aiohttp.ClientResponse, *, append: bool, progress: Progress) -> None:
        length = response.content_length
        self._volume.require_free(length or 0, what=f"The archive {self._source.display}")
        start = self._size() if append else 0
        progress.total_bytes = progress.fetched_bytes + length if length else None
        log.info("resuming" if append else "fetching archive", extra={"at_bytes": start, "missing_bytes": length})
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | (os.O_APPEND if append else os.O_TRUNC), 0o644)
        with os.fdopen(descriptor, "wb") as file:
            if not append:
                self._write_validators(_validators_of(response, self._source.identity))
            try:
                await self._write(response, file, progress)
            except FetchError:
                # There is no room for the rest, and other models may need what this part takes.
                self.path.unlink()
                raise

    def _write_validators(self, validators: Validators) -> None:
        # The old content is gone by now: after a crash these must never stand beside it, nor be half of themselves.
        temporary = self._validators_path.with_suffix(".new")
        temporary.write_text(json.dumps(asdict(validators)), encoding="utf-8")
        os.replace(temporary, self._validators_path)

    async def _write(self, response: aiohttp.ClientResponse, file: IO[bytes], progress: Progress) -> None:
        # Not every server announces the length.
        allowance = Allowance(self._volume, what=f"The archive {self._source.display}")
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            allowance.take(len(chunk))
            file.write(chunk)
            progress.add(len(chunk))
        await asyncio.to_thread(_flush, file.fileno())

    async def _verify(self) -> None:
        if self._source.sha256 is None:
            return
        actual = await asyncio.to_thread(_sha256_of, self.path)
        if actual != self._source.sha256:
            size = self._size()
            self.path.unlink()
            raise FetchError(
                FetchReason.ChecksumMismatch,
                f"{self._source.display} has SHA-256 {actual} ({size} bytes), but the URI asks for "
                f"{self._source.sha256}. Correct #sha256= in the URI, or publish the right archive.",
            )

    def _read_validators(self) -> Validators | None:
        try:
            validators = Validators(**json.loads(self._validators_path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return validators if validators.identity == self._source.identity else None

    def _size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0


_COMPLETE, _BROKEN, _NOT_MODIFIED = object(), object(), object()


def _validators_of(response: aiohttp.ClientResponse, identity: str) -> Validators:
    headers = response.headers
    return Validators(identity, headers.get("ETag"), headers.get("Last-Modified"), response.content_length)


def _content_range(response: aiohttp.ClientResponse) -> tuple[int | None, int | None]:
    match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    if not match:
        return None, None
    return int(match[1]), int(match[2]) if match[2].isdecimal() else None


def _flush(descriptor: int) -> None:
    os.fsync(descriptor)


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
