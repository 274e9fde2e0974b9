"""The programs of a cluster, built from the versions that ``go/<part>/go.mod`` pins.

Built once for each content of those files and each version of Go, into the user's cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from e2e.cluster import runs
from e2e.cluster.commands import run
from e2e.cluster.errors import BuildFailed, ClusterError
from e2e.cluster.locks import exclusive
from e2e.cluster.paths import binaries_root
from e2e.cluster.progress import Progress, details_of, log_progress
from e2e.cluster.retention import drop_abandoned, drop_outdated, mark_used
from e2e.cluster.toolchain import find_go, go_version, wanted_go_version

GO_MODULES = Path(__file__).parent / "go"


@dataclass(frozen=True)
class Part:
    """Programs that are built together from one go.mod file."""

    name: str
    module: str
    stamps: tuple[str, ...] = ()
    """Settings for the linker (-X), with ``{version}``, ``{major}`` and ``{minor}`` of ``module``."""
    tags: tuple[str, ...] = ()
    """Go build tags."""
    renames: Mapping[str, str] = field(default_factory=dict)
    """What Go names the program, which is the last word of its import path → what it should be called."""
    data: tuple[str, ...] = ()
    """Directories of ``module`` that are kept beside its programs, under their own names."""

    @property
    def source(self) -> Path:
        """The directory of go.mod and go.sum."""
        return GO_MODULES / self.name

    @property
    def go_mod(self) -> str:
        """The text of go.mod."""
        return (self.source / "go.mod").read_text()

    @property
    def version(self) -> str:
        """The version of ``module`` that go.mod pins, as "v1.2.3"."""
        pinned = re.search(rf"^(?:require|\s)\s*{re.escape(self.module)} (v\S+)", self.go_mod, re.MULTILINE)
        if pinned is None:
            raise BuildFailed(f"{self.source / 'go.mod'} does not require {self.module}")
        return pinned[1]

    @property
    def linker_flags(self) -> str:
        """What the linker is told: no symbols, and the version to report."""
        major, minor = self.version.removeprefix("v").split(".")[:2]
        stamps = [stamp.format(version=self.version, major=major, minor=minor) for stamp in self.stamps]
        return " ".join(["-s -w", *(f"-X {stamp}" for stamp in stamps)])


PARTS: Mapping[str, Part] = {
    part.name: part
    for part in (
        Part("etcd", "go.etcd.io/etcd/server/v3", renames={"server": "etcd"}),
        Part(
            "kubernetes",
            "k8s.io/kubernetes",
            stamps=(
                "k8s.io/component-base/version.gitVersion={version}",
                "k8s.io/component-base/version.gitMajor={major}",
                "k8s.io/component-base/version.gitMinor={minor}",
            ),
        ),
        Part("crane", "github.com/google/go-containerregistry"),
        Part(
            "containerd",
            "github.com/containerd/containerd/v2",
            stamps=("github.com/containerd/containerd/v2/version.Version={version}",),
        ),
        Part("helm", "helm.sh/helm/v3", stamps=("helm.sh/helm/v3/internal/version.version={version}",)),
        Part("coredns", "github.com/coredns/coredns"),
        Part(
            "prometheus",
            "github.com/prometheus/prometheus",
            # Debian's is built without Kubernetes discovery; the clouds' discoveries triple the build.
            tags=("remove_all_sd", "enable_kubernetes_sd"),
        ),
        Part(
            "argocd",
            "github.com/argoproj/argo-cd/v3",
            renames={"cmd": "argocd"},
            data=("manifests/crds", "manifests/base/config"),
        ),
    )
}
CONTROL_PLANE_PARTS = ("etcd", "kubernetes", "helm")
NODE_PARTS = ("crane", "containerd", "coredns")
PROMETHEUS_PARTS = ("prometheus",)
ARGO_CD_PARTS = ("argocd",)


@dataclass(frozen=True)
class Binaries:
    """Where the built programs lie."""

    directories: Mapping[str, Path]

    def merged_with(self, other: Binaries) -> Binaries:
        """Return the programs of both; of what both have, this one's."""
        return Binaries({**other.directories, **self.directories})

    def __getattr__(self, part: str) -> Path:
        """Return the directory of the programs of ``part``."""
        try:
            return self.directories[part]
        except KeyError:
            raise AttributeError(f"{part} was not built") from None


def build(parts: Iterable[str], *, progress: Progress = log_progress) -> Binaries:
    """Return the programs of ``parts``, building what the cache does not hold."""
    built = {}
    for part in (PARTS[name] for name in parts):
        # Each its own: where no Go is installed, one part's need for a newer release is not to change the others.
        go = find_go(wanted=wanted_go_version(part.go_mod), progress=progress)
        built[part.name] = _cached(part, go, ".".join(map(str, go_version(go))), progress)
    return Binaries(built)


def content_key(part: Part, go: str) -> str:
    """Return what a build depends on, as a short name."""
    digest = hashlib.sha256()
    for text in (part.go_mod, (part.source / "go.sum").read_text(), part.linker_flags, *part.tags, *part.data, go):
        digest.update(hashlib.sha256(text.encode()).digest())
    return digest.hexdigest()[:16]


def _cached(part: Part, go: Path, go_number: str, progress: Progress) -> Path:
    wanted = binaries_root() / f"{part.name}-{content_key(part, go_number)}"
    if not mark_used(wanted):
        with exclusive(binaries_root() / f"{part.name}.lock"):
            if not mark_used(wanted):
                _build(part, go, wanted, progress)
        _drop_old_versions()
    return wanted


def _drop_old_versions() -> None:
    drop_abandoned(binaries_root())
    with contextlib.suppress(ClusterError):  # a cluster of another version of this code is up: who knows what it runs
        drop_outdated(
            binaries_root(), kind_of=lambda built: built.name.rpartition("-")[0], needed=runs.programs_in_use()
        )


def _build(part: Part, go: Path, wanted: Path, progress: Progress) -> None:
    with tempfile.TemporaryDirectory(dir=wanted.parent, prefix=f".{part.name}-") as scratch:
        _go_install(part, go, Path(scratch), progress)
        for built, name in part.renames.items():
            Path(scratch, built).rename(Path(scratch, name))
        for directory in part.data:
            shutil.copytree(_module_source(part, go) / directory, Path(scratch, Path(directory).name))
        finished = shutil.copytree(scratch, f"{wanted}.new", dirs_exist_ok=True, copy_function=shutil.move)
        Path(finished).rename(wanted)


def _go_install(part: Part, go: Path, destination: Path, progress: Progress) -> None:
    label = f"building {part.name} {part.version}"
    progress(label)
    say = details_of(label, progress)
    command = [
        str(go),
        "install",
        "-v",
        "-trimpath",
        # The linker drops what debuggers need; not making it saves a seventh of the time.
        "-gcflags=all=-dwarf=false",
        "-tags",
        ",".join(part.tags),
        "-ldflags",
        part.linker_flags,
        "tool",
    ]
    env = {**_go_environment(), "GOBIN": str(destination), "CGO_ENABLED": "0"}
    said: list[str] = []
    with subprocess.Popen(["nice", *command], cwd=part.source, env=env, stderr=subprocess.PIPE, text=True) as compiler:
        assert compiler.stderr is not None
        for count, line in enumerate(compiler.stderr, start=1):
            said.append(line)
            say(f"{count} packages, now {line.strip().removeprefix('go: ')}")
    if compiler.returncode != 0:
        raise BuildFailed(f"{label} failed:\n{''.join(said[-30:])}")


def _module_source(part: Part, go: Path) -> Path:
    """Return where Go keeps the source of ``part.module``."""
    command = [str(go), "list", "-m", "-f", "{{.Dir}}", part.module]
    return Path(run(command, cwd=part.source, env=_go_environment()).stdout.strip())


def _go_environment() -> dict[str, str]:
    return {**os.environ, "GOTOOLCHAIN": "local", "GOWORK": "off"}
