"""What the machine must bring, and the Debian packages that are installed when they are missing."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from e2e.cluster.commands import run
from e2e.cluster.errors import CommandFailed, NotPossibleHere
from e2e.cluster.locks import exclusive
from e2e.cluster.paths import cache_root
from e2e.cluster.progress import Progress

_NETWORK = {"ip": "iproute2", "iptables": "iptables", "nsenter": "util-linux", "unshare": "util-linux"}
_PODS = {
    "runc": "runc",
    "conntrack": "conntrack",
    "igzip": "isal",  # containerd unpacks layers several times faster with it
    "/usr/lib/cni/ptp": "containernetworking-plugins",
}
_ARGO_CD = {"redis-check-rdb": "redis-tools", "git": "git"}
_IMAGES = {"buildah": "buildah", "mmdebstrap": "mmdebstrap"}
_WATCH_LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")
_WATCHES_WANTED = 1024
_ADMIN_PATH = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def ensure_control_plane(progress: Progress) -> None:
    """Check that a cluster can run here and install what its network needs."""
    if sys.platform != "linux":
        raise NotPossibleHere("the embedded cluster needs Linux; use a cluster of your own elsewhere")
    if os.geteuid() != 0:
        raise NotPossibleHere("the embedded cluster needs root, for namespaces and control groups; try sudo")
    if not os.path.ismount("/sys/fs/cgroup"):
        raise NotPossibleHere("no control groups are mounted on /sys/fs/cgroup")
    _see_admin_programs()
    _raise_watch_limit()
    _install(_NETWORK, progress)


def ensure_nodes(progress: Progress) -> None:
    """Install what nodes need to run pods."""
    _install(_PODS, progress)


def ensure_image_builder(progress: Progress) -> None:
    """Install what building images from Dockerfiles needs."""
    _see_admin_programs()
    _install(_IMAGES, progress)


def redis(progress: Progress) -> Path:
    """Return the program that is a Redis server when it is called redis-server.

    Debian's redis-server package holds no more than that name for it, and a service that starts at once.
    """
    _see_admin_programs()
    _install(_ARGO_CD, progress)
    return Path(str(shutil.which("redis-check-rdb")))


def busybox(progress: Progress) -> Path:
    """Return a busybox that needs no libraries."""
    return _extracted("busybox-static", progress) / "bin" / "busybox"


def _raise_watch_limit() -> None:
    """Make room for more than a few clusters: each holds about 20 inotify instances, of 128 for all of a user.

    This is the one setting of the host that is changed, until its next boot.
    """
    if int(_WATCH_LIMIT.read_text()) < _WATCHES_WANTED:
        with contextlib.suppress(OSError):  # in a container that may not; a few clusters still fit
            _WATCH_LIMIT.write_text(str(_WATCHES_WANTED))


def _see_admin_programs() -> None:
    """Find iptables, runc and the like even where the user's PATH leaves out the directories of root's programs."""
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join([*path, *(place for place in _ADMIN_PATH if place not in path)])


def _install(programs: Mapping[str, str], progress: Progress) -> None:
    if not _missing(programs):
        return
    with exclusive(cache_root() / "apt.lock"):
        packages = _missing(programs)
        if packages:
            progress(f"installing {', '.join(packages)}")
            _apt("install", "--yes", "--no-install-recommends", *packages)


def _missing(programs: Mapping[str, str]) -> list[str]:
    return sorted({package for program, package in programs.items() if shutil.which(program) is None})


def _extracted(package: str, progress: Progress) -> Path:
    target = cache_root() / "debian" / package
    with exclusive(cache_root() / "apt.lock"):
        if not target.exists():
            progress(f"fetching {package}")
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{package}-") as scratch:
                _apt("download", package, cwd=Path(scratch))
                (archive,) = Path(scratch).glob("*.deb")
                run(["dpkg-deb", "--extract", archive, Path(scratch, "root")])
                Path(scratch, "root").rename(target)
    return target


def _apt(*arguments: str, cwd: Path | None = None) -> None:
    if shutil.which("apt-get") is None:
        raise NotPossibleHere(f"no apt-get is here; install by hand what it would: {' '.join(arguments)}")
    # Nobody is there to answer questions, and another apt may be at work.
    command = ["apt-get", "--quiet", "-oDPkg::Lock::Timeout=300", "-oAPT::Sandbox::User=root", *arguments]
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        run(command, env=env, cwd=cwd)
    except CommandFailed:
        run(["apt-get", "--quiet", "update"], env=env)
        run(command, env=env, cwd=cwd)
