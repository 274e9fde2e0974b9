"""Compile the .proto files beside this module. With --check: only say whether the committed files are current."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

WIRE = Path(__file__).resolve().parent
PROJECT = WIRE.parent.parent.parent


def main() -> int:
    """Return 0 when the generated files are up to date, now or (with --check) already."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when something would change")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        compile_protos(Path(folder))
        generated = {path.relative_to(folder): path.read_bytes() for path in Path(folder).rglob("*_pb2.py*")}
    stale = [path for path, content in generated.items() if not same(PROJECT / path, content)]
    for path in () if check else stale:
        (PROJECT / path).write_bytes(generated[path])
    if check and stale:
        print(f"out of date: {', '.join(map(str, sorted(stale)))}", file=sys.stderr)
        return 1
    return 0


def compile_protos(output: Path) -> None:
    """Write the Python modules of every .proto file into ``output``, by their path from the project's root."""
    protos = [str(path.relative_to(PROJECT)) for path in sorted(WIRE.glob("*.proto"))]
    arguments = ["protoc", f"--proto_path={PROJECT}", f"--python_out={output}", f"--pyi_out={output}"]
    # The compiler's own Any and wrappers live beside grpc_tools.
    include = Path(protoc.__file__).parent / "_proto"
    if protoc.main([*arguments, f"--proto_path={include}", *protos]) != 0:
        raise SystemExit("protoc failed")
    for stub in output.rglob("*_pb2.pyi"):
        # protoc writes bare Mapping, which strict type checking refuses.
        stub.write_text('# mypy: disable-error-code="type-arg"\n' + stub.read_text())


def same(path: Path, content: bytes) -> bool:
    return path.exists() and path.read_bytes() == content


if __name__ == "__main__":
    sys.exit(main())
