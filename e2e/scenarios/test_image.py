"""The operator's image as it is pushed: what it holds, how it starts, and what is not in it."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import images

PROJECT = Path(__file__).resolve().parents[2]
MEBIBYTE = 2**20
PYTHON_PACKAGES = "opt/venv/lib/python3.11/site-packages/"


@dataclass(frozen=True)
class Image:
    """An image read from its OCI layout; layers that every image of the base has are not looked into."""

    config: Mapping[str, Any]
    sizes_bytes: Mapping[str, int]
    """By file path: what the operator's own layers hold, unpacked."""
    compressed_bytes: int
    """All layers, the base's too: what a node pulls."""

    def packages(self) -> set[str]:
        return {
            path.removeprefix(PYTHON_PACKAGES).split("/")[0]
            for path in self.sizes_bytes
            if path.startswith(PYTHON_PACKAGES)
        }


@pytest.fixture(scope="module")
def image() -> Image:
    layout = images.build(images.ImageBuild(PROJECT, PROJECT / "Dockerfile"))

    def blob(descriptor: Mapping[str, Any]) -> Path:
        return layout / "blobs" / str(descriptor["digest"]).replace(":", "/")

    manifest = json.loads(blob(json.loads((layout / "index.json").read_text())["manifests"][0]).read_text())
    sizes: dict[str, int] = {}
    for layer in manifest["layers"][1:]:
        with tarfile.open(blob(layer)) as archive:
            sizes |= {member.name.removeprefix("./"): member.size for member in archive if member.isfile()}
    return Image(
        config=json.loads(blob(manifest["config"]).read_text())["config"],
        sizes_bytes=sizes,
        compressed_bytes=sum(layer["size"] for layer in manifest["layers"]),
    )


def test_it_runs_the_operator_as_a_user_without_rights(image: Image) -> None:
    assert image.config["User"] == "65532:65532"
    assert image.config["Entrypoint"] == ["python", "-m", "tfserving_operator"]
    assert "PYTHONSAFEPATH=1" in image.config["Env"]


def test_it_says_what_it_is(image: Image) -> None:
    prefix = "org.opencontainers.image."
    labels = {
        key.removeprefix(prefix): value for key, value in image.config["Labels"].items() if key.startswith(prefix)
    }
    assert labels["title"] == "tfserving-operator"
    assert labels["licenses"] == "Apache-2.0"
    assert {"version", "revision", "description"} <= labels.keys()


def test_it_holds_the_operator_and_neither_tensorflow_nor_development_tools(image: Image) -> None:
    packages = image.packages()
    assert {"tfserving_operator", "kopf", "tensorflow_serving"} <= packages
    unwanted = {"tensorflow", "keras", "numpy", "sklearn", "uv", "pip", "pytest", "mypy", "ruff", "moto", "rich", "e2e"}
    assert not packages & unwanted
    assert not [path for path in image.sizes_bytes if "cache/uv" in path or path.startswith("src/")]


def test_every_module_of_the_operator_is_compiled(image: Image) -> None:
    package = f"{PYTHON_PACKAGES}tfserving_operator/"
    modules = [Path(path) for path in image.sizes_bytes if path.startswith(package) and path.endswith(".py")]
    assert modules
    missing = [
        str(module)
        for module in modules
        if f"{module.parent}/__pycache__/{module.stem}.cpython-311.pyc" not in image.sizes_bytes
    ]
    assert not missing


def test_it_is_small(image: Image) -> None:
    assert sum(image.sizes_bytes.values()) < 110 * MEBIBYTE
    assert image.compressed_bytes < 110 * MEBIBYTE
