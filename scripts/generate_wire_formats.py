#!/usr/bin/env python3
"""Compile tfserving_operator/wire/serving.proto to the Python modules beside it."""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from google.protobuf import any_pb2, descriptor_pb2, wrappers_pb2
from google.protobuf.descriptor import FileDescriptor
from grpc_tools import protoc
from tensorflow_serving.config import model_server_config_pb2

SOURCE_ROOT = Path(__file__).resolve().parent.parent / "operator"
PROTO = Path("tfserving_operator/wire/serving.proto")
GENERATED = (PROTO.with_name("serving_pb2.py"), PROTO.with_name("serving_pb2.pyi"))


def main() -> int:
    """Return 0 when the generated files are up to date, now or (with --check) already."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if out of date")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        compile_proto(Path(folder))
        stale = [path for path in GENERATED if differs(Path(folder) / path, SOURCE_ROOT / path)]
        for path in () if check else stale:
            (SOURCE_ROOT / path).write_bytes((Path(folder) / path).read_bytes())
    if check and stale:
        print(f"out of date, run {Path(__file__).name}: {', '.join(map(str, stale))}", file=sys.stderr)
        return 1
    return 0


def compile_proto(output: Path) -> None:
    """Write the Python modules of PROTO into ``output``."""
    imported = output / "imported.binpb"
    imported.write_bytes(imported_descriptors().SerializeToString())
    arguments = [
        "protoc",
        f"--descriptor_set_in={imported}",
        f"--proto_path={SOURCE_ROOT}",
        f"--proto_path={files('grpc_tools') / '_proto'}",
        f"--python_out={output}",
        f"--pyi_out={output}",
        str(PROTO),
    ]
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc failed, see above")


def imported_descriptors() -> descriptor_pb2.FileDescriptorSet:
    """Return the files that PROTO imports: the wheel has the compiled descriptors, not the .proto files."""
    found: dict[str, FileDescriptor] = {}

    def collect(file: FileDescriptor) -> None:
        for dependency in file.dependencies:
            collect(dependency)
        found.setdefault(file.name, file)

    for module in (any_pb2, wrappers_pb2, model_server_config_pb2):
        collect(module.DESCRIPTOR)
    descriptors = descriptor_pb2.FileDescriptorSet()
    for file in found.values():
        file.CopyToProto(descriptors.file.add())
    return descriptors


def differs(new: Path, committed: Path) -> bool:
    """Say whether ``committed`` lacks the content of ``new``."""
    return not committed.exists() or new.read_bytes() != committed.read_bytes()


if __name__ == "__main__":
    sys.exit(main())
