from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from e2e.cluster.oci import File, files_below, write_layout


def test_every_blob_is_named_by_its_content(tmp_path: Path) -> None:
    write_layout(tmp_path / "image", {"a": File(b"1")})

    blobs = list((tmp_path / "image/blobs/sha256").iterdir())

    assert len(blobs) == 3  # layer, configuration, manifest
    assert all(hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name for blob in blobs)


def test_the_layer_holds_the_files_with_their_directories(tmp_path: Path) -> None:
    write_layout(tmp_path / "image", {"deep/er/run": File(b"#!", 0o755), "plain": File(b"text")})

    with tarfile.open(fileobj=io.BytesIO(_layer(tmp_path / "image"))) as layer:
        modes = {entry.name: entry.mode for entry in layer}
        content = layer.extractfile("plain")
        assert content is not None
        assert content.read() == b"text"

    assert modes == {"deep": 0o755, "deep/er": 0o755, "deep/er/run": 0o755, "plain": 0o644}


def test_the_configuration_names_the_uncompressed_layer_and_the_entrypoint(tmp_path: Path) -> None:
    write_layout(tmp_path / "image", {"a": File(b"1")}, entrypoint=["/a", "b"])

    config = _blob(tmp_path / "image", _manifest(tmp_path / "image")["config"])

    assert config["config"]["Entrypoint"] == ["/a", "b"]
    digest = hashlib.sha256(_layer(tmp_path / "image")).hexdigest()
    assert config["rootfs"]["diff_ids"] == [f"sha256:{digest}"]


def test_the_same_files_give_the_same_image(tmp_path: Path) -> None:
    write_layout(tmp_path / "one", {"a": File(b"1"), "b": File(b"2")})
    write_layout(tmp_path / "two", {"b": File(b"2"), "a": File(b"1")})

    assert (tmp_path / "one/index.json").read_bytes() == (tmp_path / "two/index.json").read_bytes()


def test_files_below_a_directory_keep_their_paths_and_modes(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "run").write_bytes(b"#!")
    (tmp_path / "1" / "run").chmod(0o700)

    assert files_below(tmp_path) == {"1/run": File(b"#!", 0o700)}


def _manifest(image: Path) -> dict[str, Any]:
    index = json.loads((image / "index.json").read_text())
    return _blob(image, index["manifests"][0])


def _blob(image: Path, descriptor: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(_path(image, descriptor).read_bytes())
    return content


def _layer(image: Path) -> bytes:
    return gzip.decompress(_path(image, _manifest(image)["layers"][0]).read_bytes())


def _path(image: Path, descriptor: dict[str, Any]) -> Path:
    path = image / "blobs" / str(descriptor["digest"]).replace(":", "/")
    assert path.stat().st_size == descriptor["size"]
    return path
