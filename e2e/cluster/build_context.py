"""The files that an image is built from, and a key that changes exactly when they do."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

_IGNORE_FILE = ".dockerignore"


def copied_paths(dockerfile: str) -> tuple[str, ...]:
    """Return what ``dockerfile`` takes from its context: paths or patterns; none when it may take anything."""
    instructions = re.sub(r"\\\n", " ", dockerfile)
    if re.search(r"^\s*RUN\s.*--mount=type=bind", instructions, re.MULTILINE | re.IGNORECASE):
        return ()
    found: list[str] = []
    for arguments in re.findall(r"^\s*(?:COPY|ADD)\s+(.+)$", instructions, re.MULTILINE | re.IGNORECASE):
        if "--from=" not in arguments:
            found += _sources(arguments)
    if any(path in {".", "./", "/"} or "$" in path for path in found):
        return ()
    return (*dict.fromkeys(path.strip("/") for path in found), _IGNORE_FILE)


def list_files(context: Path, paths: Sequence[str] = ()) -> list[Path]:
    """Return the files of ``context``, relative to it: those that git does not ignore, or all without git.

    ``paths`` narrows them down to these files and directories.
    """
    listed = _git_files(context, paths)
    if listed is None:
        roots = [root for path in paths for root in context.glob(path)] if paths else [context]
        found = (file for root in roots for file in (root.rglob("*") if root.is_dir() else [root]))
        listed = [file.relative_to(context) for file in found]
    return sorted(path for path in set(listed) if _is_file_or_link(context / path))


def content_digest(context: Path, files: Iterable[Path]) -> str:
    """Return a digest of the names, contents and executable bits of ``files``, which are relative to ``context``."""
    digest = hashlib.sha256()
    for path in files:
        full = context / path
        content = os.readlink(full).encode() if full.is_symlink() else full.read_bytes()
        executable = not full.is_symlink() and os.access(full, os.X_OK)
        for part in (str(path).encode(), content, str(executable).encode()):
            digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def stage(context: Path, files: Iterable[Path], target: Path) -> None:
    """Copy ``files`` to ``target``, so that a build sees nothing that its key does not cover."""
    for path in files:
        copy = target / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(context / path, copy, follow_symlinks=False)


def _sources(arguments: str) -> list[str]:
    """Return all but the target of a COPY or ADD instruction, in either of its two forms."""
    if "[" in arguments:
        words: list[str] = json.loads(arguments[arguments.index("[") :])
    else:
        words = [word for word in arguments.split() if not word.startswith("--")]
    return words[:-1]


def _git_files(context: Path, paths: Sequence[str]) -> list[Path] | None:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *(paths or ["."])]
    try:
        listed = subprocess.run(command, cwd=context, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return [Path(name) for name in listed.stdout.split("\0") if name] if listed.returncode == 0 else None


def _is_file_or_link(path: Path) -> bool:
    return path.is_symlink() or path.is_file()
