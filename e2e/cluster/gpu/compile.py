"""Compile deviceplugin.proto. With --check: only say whether the committed files are current."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

_PROTO = Path(__file__).with_name("deviceplugin.proto")
_PROJECT = Path(__file__).parents[3]


def main() -> int:
    """Return 0 when the generated files are up to date, now or (with --check) already."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when something would change")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        generated = _compile(Path(folder))
    stale = {path: content for path, content in generated.items() if not _holds(_PROJECT / path, content)}
    if check:
        for path in stale:
            print(f"out of date: {path}", file=sys.stderr)
        return 1 if stale else 0
    for path, content in stale.items():
        (_PROJECT / path).write_bytes(content)
    return 0


def _compile(folder: Path) -> dict[Path, bytes]:
    proto = str(_PROTO.relative_to(_PROJECT))
    arguments = ["protoc", f"--proto_path={_PROJECT}", f"--python_out={folder}", f"--pyi_out={folder}", proto]
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc failed")
    for stub in folder.rglob("*_pb2.pyi"):
        # protoc writes bare Mapping, which strict type checking refuses.
        stub.write_text('# mypy: disable-error-code="type-arg"\n' + stub.read_text())
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*_pb2.py*")}


def _holds(path: Path, content: bytes) -> bool:
    return path.exists() and path.read_bytes() == content


if __name__ == "__main__":
    sys.exit(main())
