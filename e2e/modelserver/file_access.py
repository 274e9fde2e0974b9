"""Looks at files as TensorFlow's file system does."""

from __future__ import annotations

import os
from pathlib import Path


def is_there(path: Path) -> bool:
    """Tell whether ``path`` can be reached.

    One that cannot be looked at, for whatever reason (rights, a loop of links, a name too long), is not there for
    TensorFlow; ``Path.exists`` raises for most reasons.
    """
    return os.path.exists(path)
