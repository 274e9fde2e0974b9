"""Replacing files while others read them."""

from __future__ import annotations

import secrets
from pathlib import Path


def replace_text(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Let ``path`` hold ``text``: whoever reads it meanwhile, or after a crash, finds all of it or what was there."""
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        scratch.touch(mode=mode)
        scratch.write_text(text)
        scratch.rename(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
