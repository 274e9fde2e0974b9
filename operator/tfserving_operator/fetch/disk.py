"""Whether what is to be fetched fits the volume, said in units people read."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tfserving_operator.fetch.errors import FetchError
from tfserving_operator.fetch.termination import FetchReason

_LOOK_INTERVAL_BYTES = 32 << 20
_BLOCK_BYTES = 4096
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
_FULL = (errno.ENOSPC, errno.EDQUOT)


def human_size(size_bytes: int) -> str:
    """Return ``size_bytes`` as people write it: ``999 B``, ``1.5 KiB``, ``12.4 GiB``."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


@dataclass(frozen=True)
class Volume:
    """Where models are fetched to."""

    path: Path
    limit_bytes: int | None = None
    """This model's part of the emptyDir's sizeLimit, which its file system does not show.

    The kubelet evicts a pod that goes beyond it, with a message that names no model.
    """
    limited: Path | None = None
    """The directory whose content counts against the limit; None: all of the volume."""

    def require_free(self, needed_bytes: int, *, what: str) -> int:
        """Return the free bytes; raise ``InsufficientDiskSpace`` unless ``needed_bytes`` more have room."""
        status = os.statvfs(self.path)
        free_bytes, total_bytes = status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize
        if self.limit_bytes is not None and self.limit_bytes < total_bytes:
            total_bytes = self.limit_bytes
            free_bytes = min(free_bytes, max(0, total_bytes - _used_bytes(self.limited or self.path)))
        if needed_bytes <= free_bytes:
            return free_bytes
        is_limited = total_bytes == self.limit_bytes
        place = "source.sizeLimit leaves" if is_limited else f"the volume at {self.path} has"
        advice = "Raise it" if is_limited else "Give the models' volume more room"
        raise FetchError(
            FetchReason.InsufficientDiskSpace,
            f"{what} needs {human_size(needed_bytes)} but {place} {human_size(free_bytes)} free of "
            f"{human_size(total_bytes)}. {advice} or fetch fewer versions.",
        )


class Allowance:
    """The room for something whose size shows only while it is written; looks at the volume now and then."""

    def __init__(self, volume: Volume, *, what: str) -> None:
        """Name what is written; nothing is looked at yet."""
        self._volume, self._what = volume, what
        self._taken_bytes = 0
        self._left_bytes = 0

    def take(self, count_bytes: int) -> None:
        """Account for ``count_bytes`` about to be written; raise ``InsufficientDiskSpace`` if they have no room."""
        if count_bytes > self._left_bytes:
            what = f"{self._what}, {human_size(self._taken_bytes)} of which are written, goes on and"
            self._left_bytes = min(self._volume.require_free(count_bytes, what=what), _LOOK_INTERVAL_BYTES)
        self._left_bytes -= count_bytes
        self._taken_bytes += count_bytes

    def take_entry(self) -> None:
        """Account for the block that a file's last bytes, or a directory, take."""
        self.take(_BLOCK_BYTES)


def _used_bytes(directory: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in directory.rglob("*"))


def is_lack_of_space(error: BaseException) -> bool:
    """Return whether ``error`` says that the volume has too little room."""
    if isinstance(error, FetchError):
        return error.reason is FetchReason.InsufficientDiskSpace
    return isinstance(error, OSError) and error.errno in _FULL


@contextmanager
def translated_disk_errors(directory: Path, *, what: str) -> Iterator[None]:
    """Turn a full or unwritable volume met inside the block into a failure that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            quota = " (a quota was reached)" if error.errno == errno.EDQUOT else ""
            raise FetchError(
                FetchReason.InsufficientDiskSpace,
                f"The volume at {directory} became full while fetching {what}{quota}. "
                "Give the models' volume more room or fetch fewer versions.",
            ) from error
        if error.errno in _UNWRITABLE:
            raise FetchError(
                FetchReason.DestinationNotWritable,
                f"{directory} cannot be written by user {os.getuid()}, group {os.getgid()} ({error.strerror}). "
                "Set the pod's fsGroup to a group that may write the volume, and mount it read-write.",
            ) from error
        raise
