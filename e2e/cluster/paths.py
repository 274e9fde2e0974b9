"""Where the embedded cluster keeps what it builds and what it runs with."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """Return the project's directory in the user's cache; to delete it ends the clusters that run, and no more."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tfserving-operator"


def binaries_root() -> Path:
    """Return where built binaries lie, one directory for each part and content key."""
    return cache_root() / "bin"


def images_root() -> Path:
    """Return where images, their layers and the builder's storage lie."""
    return cache_root() / "images"


def machine_root() -> Path:
    """Return where locks lie on what all of the machine has in common, whoever's cache is used."""
    return Path("/run/tfserving-operator")


def runs_root() -> Path:
    """Return where clusters that run now keep their state, one directory for each."""
    return cache_root() / "runs"
