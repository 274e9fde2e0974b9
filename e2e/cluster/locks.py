"""Locks between processes; the kernel lets go of them when their last holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file ``path`` alone, waiting for it as long as it takes."""
    with _held(path, fcntl.LOCK_EX):
        yield


@contextmanager
def shared(path: Path) -> Iterator[None]:
    """Hold the lock file ``path`` with others who share it, waiting for one who holds it alone."""
    with _held(path, fcntl.LOCK_SH):
        yield


@contextmanager
def exclusive_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock file ``path`` alone, unless anybody holds it now; say whether it is held."""
    descriptor = try_hold(path)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def try_hold(path: Path) -> int | None:
    """Return a descriptor that holds the lock file ``path`` until every copy is closed, or None if it is held."""
    try:
        return _hold(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None


def is_held(path: Path) -> bool:
    """Tell whether anybody holds the lock file ``path`` alone; looking makes nothing and keeps nobody out."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def remove_unheld(path: Path) -> None:
    """Remove the lock file ``path`` unless it is held; those who wait for it at that moment make it anew."""
    with contextlib.suppress(FileNotFoundError), exclusive_if_free(path) as free:
        if free:
            path.unlink()


@contextmanager
def _held(path: Path, operation: int) -> Iterator[None]:
    descriptor = _hold(path, operation)
    try:
        yield
    finally:
        os.close(descriptor)


def _hold(path: Path, operation: int) -> int:
    while True:
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, operation)
        except BlockingIOError:
            os.close(descriptor)
            raise
        if _is_that_of(descriptor, path):
            return descriptor
        os.close(descriptor)  # the file was removed before it was held


def _open(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _is_that_of(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
