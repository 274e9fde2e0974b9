"""Unpacks an archive that a stranger may have made: only plain files and directories, only below one directory.

Links are refused rather than followed: a SavedModel needs none, and they are how archives have escaped their
directory in spite of filters. Files are written by us, with our permissions, never by ``extractall``.
"""

from __future__ import annotations

import errno
import lzma
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, Self

from tfserving_operator.fetch.disk import Allowance, Volume
from tfserving_operator.fetch.errors import FetchError
from tfserving_operator.fetch.source import quoted
from tfserving_operator.fetch.termination import FetchReason

ENTRY_LIMIT = 100_000
_DEPTH_LIMIT = 32
_NAME_LIMIT_BYTES = 255
_COPY_BYTES = 1 << 20
_CHECKED_SIZE_BYTES = 1 << 20
_PADDING_LIMIT_BYTES = 64 << 20
_COMPRESSED_MAGIC = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00")
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_BAD_DATA_ERRORS = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    ValueError,
    NotImplementedError,
    RuntimeError,
)
_UNFIT_NAME_ERRORS = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EILSEQ)
"""What the kernel says of a file that is to be a directory as well, and of a path that is too long."""


@dataclass(frozen=True)
class Entry:
    """A file or directory in an archive."""

    name: str
    size_bytes: int
    is_directory: bool
    is_plain: bool
    """False for links, devices and whatever else is neither file nor directory."""


class Archive(Protocol):
    """An opened archive, read once from front to end."""

    def unpacked_bytes(self) -> int | None:
        """Return the size of all files, or None when only reading everything would tell."""

    def entries(self) -> Iterator[tuple[Entry, IO[bytes] | None]]:
        """Yield each entry, with its content if it is a plain file."""


class _SoundHeader(tarfile.TarInfo):
    """A header of a tar; the library takes a broken or missing one, but for the first, for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Return the header in ``buf``; only a block of zeros is an end."""
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # typeshed leaves it out.
            raise
        except tarfile.HeaderError as error:
            trouble = str(error) if buf else "it ends without its end marker"
            raise tarfile.ReadError(trouble) from error


class _Readable(Protocol):
    def read(self, size_bytes: int, /) -> bytes: ...


class TarArchive:
    """A tar file, plain or compressed."""

    def __init__(self, path: Path) -> None:
        """Open ``path``."""
        with path.open("rb") as file:
            self._is_compressed = file.read(8).startswith(_COMPRESSED_MAGIC)
        self._path = path

    def unpacked_bytes(self) -> int | None:
        """Return the size of all files of a plain tar; a compressed one is read only once."""
        if self._is_compressed:
            return None
        with tarfile.open(self._path, "r:", tarinfo=_SoundHeader) as tar:
            return sum(member.size for member in tar if member.isreg())

    def entries(self) -> Iterator[tuple[Entry, IO[bytes] | None]]:
        """Yield each entry, with its content if it is a plain file."""
        with tarfile.open(self._path, "r:*", tarinfo=_SoundHeader) as tar:
            for member in tar:
                entry = Entry(member.name, member.size, member.isdir(), member.isreg() or member.isdir())
                yield entry, tar.extractfile(member) if member.isreg() else None
            _require_only_padding(tar.fileobj)


class ZipArchive:
    """A zip file."""

    def __init__(self, path: Path) -> None:
        """Open ``path``."""
        self._path = path

    def unpacked_bytes(self) -> int | None:
        """Return the size of all files, from the directory at the end of the archive."""
        with zipfile.ZipFile(self._path) as archive:
            return sum(info.file_size for info in archive.infolist())

    def entries(self) -> Iterator[tuple[Entry, IO[bytes] | None]]:
        """Yield each entry, with its content if it is a plain file."""
        with zipfile.ZipFile(self._path) as archive:
            for info in archive.infolist():
                file_type = (info.external_attr >> 28) & 0xF
                is_plain = file_type in (0, 0o4, 0o10) and not info.flag_bits & 1
                entry = Entry(info.filename, info.file_size, info.is_dir(), is_plain)
                if entry.is_directory or not is_plain:
                    yield entry, None
                    continue
                with archive.open(info) as content:
                    yield entry, content


def _require_only_padding(stream: _Readable) -> None:
    """Read what follows a tar's end marker: zeros, and behind them a compressed stream's checksum.

    Anything else shows that the marker was a header that got lost.
    """
    for _ in range(_PADDING_LIMIT_BYTES // _COPY_BYTES):
        chunk = stream.read(_COPY_BYTES)
        if not chunk:
            return
        if chunk.count(0) != len(chunk):
            raise tarfile.ReadError("there is more behind its end marker")
    raise tarfile.ReadError("its padding has no end")


class UnpackingStoppedError(Exception):
    """Unpacking was told to stop."""


def unpack(archive_path: Path, tree: Path, volume: Volume, *, what: str, stop: threading.Event) -> None:
    """Unpack into the new directory ``tree``; raise ``InvalidArchive`` or ``InsufficientDiskSpace``.

    Made to run in a thread: ends soon after ``stop`` is set.
    """
    tree.mkdir(parents=True)
    entry_name = ""
    try:
        archive = open_archive(archive_path, what=what)
        volume.require_free(archive.unpacked_bytes() or 0, what=f"{what}, unpacked,")
        allowance = Allowance(volume, what=f"{what}, unpacked")
        for count, (entry, content) in enumerate(archive.entries(), start=1):
            entry_name = entry.name
            if count > ENTRY_LIMIT:
                raise _invalid(what, f"it holds more than {ENTRY_LIMIT} entries")
            if entry.size_bytes >= _CHECKED_SIZE_BYTES:
                volume.require_free(entry.size_bytes, what=f"{quoted(entry.name)} of {what}")
            allowance.take_entry()
            _unpack_entry(entry, _Allowed(content, allowance, stop) if content else None, tree, what=what)
    except _BAD_DATA_ERRORS as error:
        raise _invalid(what, f"it cannot be read ({quoted(str(error)) or type(error).__name__})") from error
    except OSError as error:
        if error.errno is None:  # gzip and bz2 report bad data so.
            raise _invalid(what, f"it cannot be read ({quoted(str(error))})") from error
        if error.errno in _UNFIT_NAME_ERRORS:
            raise _invalid(what, f"{quoted(entry_name)} cannot be made beside its other entries") from error
        raise


def open_archive(path: Path, *, what: str) -> Archive:
    """Return the archive at ``path``, told by its content, since URLs often lack the file name's ending."""
    with path.open("rb") as file:
        start = file.read(512)
    # The search for a zip's end alone would find that of a zip inside a tar.
    if start.startswith(_ZIP_MAGIC) and zipfile.is_zipfile(path):
        return ZipArchive(path)
    if start.startswith(_ZSTD_MAGIC):
        raise _invalid(what, "it is compressed with zstd, which is not supported: use .tar, .tar.gz or .zip")
    if not tarfile.is_tarfile(path):
        looks = "an HTML page" if start.lstrip()[:1] == b"<" else "neither tar nor zip"
        raise _invalid(what, f"the server sent {looks}: check where the URL leads")
    return TarArchive(path)


class _Allowed:
    """The content of a file, for as long as there is room for it and nobody says stop."""

    def __init__(self, content: _Readable, allowance: Allowance, stop: threading.Event) -> None:
        self._content, self._allowance, self._stop = content, allowance, stop

    def read(self, size_bytes: int, /) -> bytes:
        chunk = self._content.read(size_bytes)
        if self._stop.is_set():
            raise UnpackingStoppedError
        self._allowance.take(len(chunk))
        return chunk


def _unpack_entry(entry: Entry, content: _Readable | None, tree: Path, *, what: str) -> None:
    target = tree.joinpath(*_safe_names(entry, what=what))
    if entry.is_directory:
        target.mkdir(parents=True, exist_ok=True)
        return
    if content is None:
        raise _invalid(what, f"{quoted(entry.name)} cannot be read")
    if target.exists():
        raise _invalid(what, f"it holds {quoted(entry.name)} twice")
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        while chunk := content.read(_COPY_BYTES):
            file.write(chunk)
    if target.stat().st_size != entry.size_bytes:
        raise _invalid(what, f"{quoted(entry.name)} is shorter or longer than the archive says")


def _safe_names(entry: Entry, *, what: str) -> list[str]:
    if not entry.is_plain:
        raise _invalid(
            what,
            f"{quoted(entry.name)} is a link, a device or encrypted; only files and directories are unpacked "
            "(tar --dereference --hard-dereference follows links when packing)",
        )
    names = [name for name in entry.name.split("/") if name not in ("", ".")]
    is_absolute = entry.name.startswith("/") or "\\" in entry.name or "\0" in entry.name
    if is_absolute or ".." in names or any(len(name.encode(errors="replace")) > _NAME_LIMIT_BYTES for name in names):
        raise _invalid(what, f"it holds the unsafe path {quoted(entry.name)}")
    if len(names) > _DEPTH_LIMIT:
        raise _invalid(what, f"{quoted(entry.name)} is more than {_DEPTH_LIMIT} directories deep")
    return names


def _invalid(what: str, trouble: str) -> FetchError:
    return FetchError(FetchReason.InvalidArchive, f"The archive {what} was not unpacked: {trouble}.")
