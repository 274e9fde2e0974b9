"""What stays in the cache: directories by their last use, so that a day of changes does not fill the disk.

Somebody who uses a directory says so with ``mark_used``, and then has it for an hour, whoever tidies up
meanwhile. All marks and removals of one parent directory are made under one lock, held for an instant.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.locks import exclusive

BUSY_SECONDS = 3600
"""So long after its last use a directory may still be read."""
FORGOTTEN_SECONDS = 14 * 24 * 3600
"""What nobody used for so long goes even when there is nothing newer of its kind."""
KEPT_OF_A_KIND = 3
"""Enough for two checkouts beside each other and the state before a change that is taken back."""
_ABANDONED_SECONDS = 24 * 3600
_LOCK = ".retention.lock"
_DROPPED = ".dropped-"


@dataclass(frozen=True)
class Entry:
    """A directory of the cache; those of one ``kind`` replace each other over time."""

    path: Path
    kind: str
    last_used_seconds: float
    """Seconds since the epoch."""


def outdated(entries: Iterable[Entry], *, now_seconds: float) -> list[Entry]:
    """Return those that may go: long forgotten, or idle and used before the last few of their kind."""
    chosen = []
    of_a_kind: Counter[str] = Counter()
    for entry in sorted(entries, key=lambda entry: entry.last_used_seconds, reverse=True):
        of_a_kind[entry.kind] += 1
        idle_seconds = now_seconds - entry.last_used_seconds
        is_replaced = of_a_kind[entry.kind] > KEPT_OF_A_KIND and idle_seconds > BUSY_SECONDS
        if is_replaced or idle_seconds > FORGOTTEN_SECONDS:
            chosen.append(entry)
    return chosen


def mark_used(directory: Path) -> bool:
    """Keep ``directory`` for an hour at least; tell whether it is there at all."""
    with exclusive(directory.parent / _LOCK):
        try:
            os.utime(directory)
        except FileNotFoundError:
            return False
    return True


def drop_outdated(parent: Path, *, kind_of: Callable[[Path], str], needed: Iterable[Path] = ()) -> list[Path]:
    """Remove what may go of the directories in ``parent``, but nothing of ``needed``; return what went."""
    with exclusive(parent / _LOCK):
        kept = set(needed)
        found = [path for path in parent.iterdir() if path.is_dir() and not path.name.startswith(".")]
        entries = [Entry(path, kind_of(path), path.stat().st_mtime) for path in found if path not in kept]
        chosen = [entry.path for entry in outdated(entries, now_seconds=time.time())]
        # Removing gigabytes takes longer than the lock should be held.
        graves = [path.rename(tempfile.mkdtemp(dir=parent, prefix=_DROPPED)) for path in chosen]
    for grave in graves:
        shutil.rmtree(grave, ignore_errors=True)
    return chosen


def drop_abandoned(parent: Path) -> None:
    """Remove hidden directories of ``parent`` that a killed process left a day ago or earlier."""
    oldest = time.time() - _ABANDONED_SECONDS
    for path in parent.glob(".*"):
        if path.is_dir() and path.lstat().st_mtime < oldest:
            shutil.rmtree(path, ignore_errors=True)
