"""How functions of the inner loop are compiled."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numba

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": False}


def _cache_directory() -> Path:
    """Return where machine code is kept: by the sources, as numba sees changes of the called function's file only."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tfserving-operator" / "simulation" / digest.hexdigest()[:16]


def compiled(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Return ``function`` compiled to machine code, which is kept in the user's cache so that later runs start fast."""
    previous = numba.config.CACHE_DIR
    try:
        numba.config.CACHE_DIR = str(_cache_directory())
        return cast(Callable[Parameters, Result], numba.njit(cache=True, **_OPTIONS)(function))
    except RuntimeError:  # nowhere to keep it: no home directory, or one that cannot be written
        return cast(Callable[Parameters, Result], numba.njit(**_OPTIONS)(function))
    finally:
        numba.config.CACHE_DIR = previous


def inlined(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Return ``function`` as part of what calls it: handing over this many arrays costs more than most functions do."""
    return cast(Callable[Parameters, Result], numba.njit(inline="always", **_OPTIONS)(function))
