"""Debian's buildah, which builds Dockerfiles without a daemon and without a container engine."""

from __future__ import annotations

import configparser
import io
import json
import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from e2e.cluster.commands import run
from e2e.cluster.errors import BuildFailed
from e2e.cluster.paths import images_root
from e2e.cluster.progress import Progress
from e2e.cluster.replacing import replace_text

_CERTIFICATES = Path("/etc/ssl/certs")
_HOME_IN_BUILDS = "/root"
"""Home of the user that a Dockerfile's steps run as."""
_STEP_ID = re.compile(r"--> ([0-9a-f]{11,64})\s*$")


def command(*arguments: str | Path) -> list[str]:
    """Return the command line of a buildah command that uses the project's own storage."""
    storage = [f"--root={images_root() / 'storage'}", f"--runroot={images_root() / 'storage-run'}"]
    return ["buildah", *storage, "--storage-driver=overlay", *map(str, arguments)]


def policy() -> str:
    """Return the flag that lets buildah use unsigned images, whatever the machine's own policy says."""
    file = images_root() / "policy.json"
    replace_text(file, json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
    return f"--signature-policy={file}"


def build(
    context: Path, dockerfile: Path, tag: str, *, build_args: Mapping[str, str], progress: Progress
) -> tuple[str, ...]:
    """Build ``dockerfile`` into the storage; return the images of its steps, by the beginnings of their ids.

    Steps that did not change are taken from the storage.
    """
    said: list[str] = []
    with subprocess.Popen(
        [
            *command("bud", policy(), "--isolation=chroot", "--network=host", "--layers", "--pull=false"),
            *_package_index_mounts(),
            *(f"--build-arg={key}={value}" for key, value in build_args.items()),
            f"--file={dockerfile}",
            f"--tag={tag}",
            str(context),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as builder:
        assert builder.stdout is not None
        for line in builder.stdout:
            said.append(line)
            if line.startswith(("STEP", "[")):
                progress(" ".join(line.split()))
    if builder.returncode != 0:
        raise BuildFailed(f"the image {tag} could not be built:\n{''.join(said[-40:])}")
    return step_ids(said)


def step_ids(said: Iterable[str]) -> tuple[str, ...]:
    """Return the beginnings of image ids in what a build printed: one for each step, lines as "--> b29abd12429"."""
    found = (_STEP_ID.match(line) for line in said)
    return tuple(dict.fromkeys(match[1] for match in found if match))


def drop_images(*, keep_tag: str, keep_ids: Sequence[str]) -> int:
    """Remove all images and containers from the storage but these; return how many images. No build may be at work."""
    run(command("rm", "--all"))  # what killed builds left
    images = json.loads(run(command("images", "--all", "--json", "--no-trunc")).stdout or "[]")
    dropped = [
        image["id"]
        for image in sorted(images, key=lambda image: image["created"], reverse=True)
        if keep_tag not in (image["names"] or [])
        and not image["id"].removeprefix("sha256:").startswith(tuple(keep_ids))
    ]
    if dropped:
        # With its last child buildah removes an unnamed parent too, and then cannot find it.
        run(command("rmi", "--force", *dropped), check=False)
    return len(dropped)


def write_layout(tag: str, target: Path) -> None:
    """Write the image to ``target`` as an OCI layout; its layers stay uncompressed, as they stay on this machine."""
    run(command("push", policy(), "--quiet", "--disable-compression", "--format=oci", tag, f"oci:{target}"))


def has_label(tag: str, label: str, value: str) -> bool:
    """Tell whether the storage holds ``tag`` with this label."""
    shown = run(command("inspect", "--type=image", tag), check=False)
    if shown.returncode != 0:
        return False
    labels = json.loads(shown.stdout)["OCIv1"]["config"].get("Labels") or {}
    return bool(labels.get(label) == value)


def import_root(tarball: Path, tag: str, *, labels: Mapping[str, str]) -> None:
    """Make an image of a root file system."""
    container = run(command("from", "scratch")).stdout.strip()
    try:
        run(command("add", "--quiet", container, tarball, "/"))
        described = [f"--label={name}={value}" for name, value in labels.items()]
        run(command("config", "--cmd=/bin/bash", *described, container))
        run(command("commit", policy(), "--quiet", container, tag))
    finally:
        run(command("rm", container))


def _package_index_mounts() -> list[str]:
    """Let pip and uv inside a build reach the index that those of this machine use, with their caches."""
    mounts = [
        (_CERTIFICATES, f"{_CERTIFICATES}:ro"),
        (_write_pip_config(), "/etc/pip.conf:ro"),
        (_write_uv_config(), "/etc/uv/uv.toml:ro"),
    ]
    for tool in ("pip", "uv"):
        cache = Path(os.environ.get(f"{tool.upper()}_CACHE_DIR") or Path.home() / ".cache" / tool)
        cache.mkdir(parents=True, exist_ok=True)
        mounts.append((cache, f"{_HOME_IN_BUILDS}/.cache/{tool}"))
    return [f"--volume={source}:{target}" for source, target in mounts if source.exists()]


def _write_pip_config() -> Path:
    config = configparser.ConfigParser(interpolation=None)
    config.read(["/etc/pip.conf", Path.home() / ".pip/pip.conf", Path.home() / ".config/pip/pip.conf"])
    if not config.has_section("global"):
        config.add_section("global")
    for name in ("INDEX_URL", "EXTRA_INDEX_URL", "TRUSTED_HOST", "DEFAULT_TIMEOUT", "PROXY"):
        if value := os.environ.get(f"PIP_{name}"):
            config["global"][name.lower().replace("_", "-")] = value
    # Files that only this machine has; the certificates are mounted where Debian keeps them.
    config.remove_option("global", "find-links")
    config["global"]["cert"] = str(_CERTIFICATES / "ca-certificates.crt")
    target = images_root() / "pip.conf"
    text = io.StringIO()
    config.write(text)
    replace_text(target, text.getvalue())
    return target


def _write_uv_config() -> Path:
    # The cache is on another file system, where hard links fail with a warning for each package.
    settings: dict[str, object] = {"native-tls": True, "link-mode": "copy"}
    if index := os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("UV_INDEX_URL"):
        settings["index-url"] = index
    target = images_root() / "uv.toml"
    replace_text(target, "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))
    return target
