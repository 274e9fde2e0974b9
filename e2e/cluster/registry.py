"""The cluster's image registry: the only one that its nodes know, whatever registry an image names.

Its blobs are hard links to those of the cache, so pushing an image moves no data, and what a cluster serves
stays for as long as the cluster does. Tags live in the registry's memory: one that nobody pushed to this
cluster is missing.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import httpx

from e2e.cluster import network, oci, prerequisites
from e2e.cluster.control_plane import ControlPlane
from e2e.cluster.image_cache import link_blobs
from e2e.cluster.locks import exclusive
from e2e.cluster.paths import images_root
from e2e.cluster.programs import wait_until
from e2e.cluster.progress import Progress

PAUSE_IMAGE = "localhost:5000/pause:1"
_PORT = 5000
REGISTRY_URL = f"http://{network.HUB_ADDRESS}:{_PORT}"
"""Where nodes find the registry."""


class Registry:
    """The registry of the cluster of ``control_plane``."""

    def __init__(self, control_plane: ControlPlane) -> None:
        """Use the registry, which may not have been started yet."""
        self._control_plane = control_plane
        self._url = f"http://{control_plane.link.address}:{_PORT}"
        self._disk = control_plane.directory / "registry"

    def start(self, *, progress: Progress) -> None:
        """Start it, with the image that every pod needs."""
        self._disk.mkdir(parents=True, exist_ok=True)
        crane = self._control_plane.binaries.crane / "crane"
        command = [str(crane), "registry", "serve", f"--address=:{_PORT}", f"--disk={self._disk}"]
        program = self._control_plane.programs.start("registry", command)
        wait_until(self._answers, what="the registry's start", programs=[program])
        self.push(_pause_layout(progress), PAUSE_IMAGE)

    def push(self, layout: Path, reference: str) -> None:
        """Push the image in the OCI layout ``layout``, to be pulled inside as ``reference``."""
        link_blobs(layout, self._disk / "sha256")
        repository, _, tag = repository_and_tag(reference).rpartition(":")
        manifest = json.loads((layout / "index.json").read_text())["manifests"][0]
        content = (layout / "blobs" / manifest["digest"].replace(":", "/")).read_bytes()
        answer = httpx.put(
            f"{self._url}/v2/{repository}/manifests/{tag}",
            content=content,
            headers={"Content-Type": manifest["mediaType"]},
            trust_env=False,
        )
        answer.raise_for_status()

    def push_files(self, files: Mapping[str, oci.File], reference: str) -> None:
        """Push an image that holds just ``files``, as for an image volume."""
        images_root().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=images_root(), prefix=".files-") as scratch:
            oci.write_layout(Path(scratch, "layout"), files)
            self.push(Path(scratch, "layout"), reference)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self._url}/v2/", trust_env=False, timeout=2).is_success
        except httpx.TransportError:
            return False


def repository_and_tag(reference: str) -> str:
    """Return ``reference`` without its registry, as the nodes ask the cluster's registry for it."""
    if ":" not in reference.rpartition("/")[2]:
        reference += ":latest"
    first, slash, rest = reference.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        official = first == "docker.io" and "/" not in rest
        return f"library/{rest}" if official else rest
    return reference if slash else f"library/{reference}"


def _pause_layout(progress: Progress) -> Path:
    layout = images_root() / "pause-1"
    with exclusive(images_root() / "pause.lock"):
        if not layout.exists():
            scratch = images_root() / ".pause-1"
            shutil.rmtree(scratch, ignore_errors=True)
            program = oci.File(prerequisites.busybox(progress).read_bytes(), 0o755)
            oci.write_layout(scratch, {"busybox": program}, entrypoint=["/busybox", "sleep", "2147483647"])
            scratch.rename(layout)
    return layout
