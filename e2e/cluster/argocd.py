"""A real Argo CD beside the control plane, and the Git repository that it follows.

Its application controller, its repository server and a Redis run as programs of the cluster. There is no API
server and no web UI: Applications are Kubernetes objects, and all that tests ask is in their status.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from e2e.cluster import binaries, prerequisites, runs
from e2e.cluster.commands import run
from e2e.cluster.control_plane import ControlPlane
from e2e.cluster.errors import ClusterError
from e2e.cluster.manifests import Manifest
from e2e.cluster.netns import network_namespace
from e2e.cluster.programs import Program, wait_until
from e2e.cluster.progress import Progress, log_progress

NAMESPACE = "argocd"
USER = "argocd"
"""Tells Argo CD's requests from others in the audit log."""
_REDIS = "127.0.0.1:6379"
_REPO_SERVER = "127.0.0.1:8081"
_REPO_SERVER_HEALTH_PORT = 8084
_CONTROLLER_HEALTH_PORT = 8082
_BRANCH = "main"
# The ApplicationSet's, of 1 MB, is for a controller that does not run here.
_CRDS = ("application-crd.yaml", "appproject-crd.yaml")
_POLL_SECONDS = 0.3


class _Read(BaseModel):
    """What is read from the API server: camelCase, the rest ignored."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")


class Verdict(_Read):
    """A word of Argo CD with its message."""

    status: str = ""
    message: str = ""
    revision: str = ""


class ManagedResource(_Read):
    """An object that Argo CD counts as the Application's own."""

    kind: str
    name: str
    namespace: str = ""
    status: str = ""
    health: Verdict = Verdict()
    requires_pruning: bool = False


class Operation(_Read):
    """The last sync."""

    phase: str = ""
    message: str = ""
    started_at: str = ""
    finished_at: str | None = None


class ApplicationCondition(_Read):
    """A warning or an error."""

    type: str
    message: str


class ApplicationStatus(_Read):
    """What Argo CD says of an Application."""

    sync: Verdict = Verdict()
    health: Verdict = Verdict()
    resources: tuple[ManagedResource, ...] = ()
    operation_state: Operation = Operation()
    conditions: tuple[ApplicationCondition, ...] = ()
    reconciled_at: str = ""


class Application(BaseModel):
    """What Argo CD shall keep as it is in Git: it prunes what leaves Git, and undoes what others change."""

    model_config = ConfigDict(frozen=True)

    name: str
    path: str
    namespace: str = "default"
    """Where objects go that do not name a namespace."""
    sync_options: tuple[str, ...] = ()
    compare_options: str = ""
    ignore_differences: tuple[Mapping[str, Any], ...] = ()

    def manifest(self, repository_url: str) -> Manifest:
        """Return the Application, whose deletion takes its objects with it."""
        compare = {"argocd.argoproj.io/compare-options": self.compare_options} if self.compare_options else {}
        return {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Application",
            "metadata": {
                "name": self.name,
                "namespace": NAMESPACE,
                "annotations": compare,
                "finalizers": ["resources-finalizer.argocd.argoproj.io"],
            },
            "spec": {
                "project": "default",
                "source": {"repoURL": repository_url, "path": self.path, "targetRevision": _BRANCH},
                "destination": {"server": "https://kubernetes.default.svc", "namespace": self.namespace},
                "syncPolicy": {
                    "automated": {"prune": True, "selfHeal": True},
                    "syncOptions": list(self.sync_options),
                },
                "ignoreDifferences": [dict(rule) for rule in self.ignore_differences],
            },
        }


@dataclass(frozen=True)
class ArgoCd:
    """The Argo CD of the cluster of ``control_plane``."""

    control_plane: ControlPlane

    def start(
        self,
        *,
        settings: Mapping[str, str] | None = None,
        refresh_seconds: int = 2,
        progress: Progress = log_progress,
    ) -> None:
        """Start it and wait until it is ready; ``settings`` are added to the ConfigMap argocd-cm."""
        parts = binaries.build(binaries.ARGO_CD_PARTS, progress=progress)
        runs.remember_programs(self.control_plane.directory, parts.directories)
        built = parts.argocd
        redis = prerequisites.redis(progress)
        progress("starting Argo CD")
        self._directory.mkdir()
        self._init_repository()
        self._install(built, settings or {})
        programs = self._start_programs(built, redis, refresh_seconds)
        ports = (_REPO_SERVER_HEALTH_PORT, _CONTROLLER_HEALTH_PORT)
        wait_until(lambda: all(map(self._is_healthy, ports)), what="Argo CD's readiness", programs=programs)

    def stop(self) -> None:
        """Stop its programs; they also end with the cluster."""
        for name in ("argocd-application-controller", "argocd-repo-server", "argocd-redis"):
            self.control_plane.programs.get(name).kill()

    @property
    def repository_url(self) -> str:
        """Where Argo CD finds Git."""
        return f"file://{self._repository}"

    @property
    def executable(self) -> Path:
        """The command-line tool, which can also say what settings do without a cluster."""
        return self._directory / "bin" / "argocd"

    def commit(self, files: Mapping[str, str | None], message: str = "Change") -> str:
        """Write ``files`` (None deletes one) to the branch that Applications follow; return the revision."""
        for path, text in files.items():
            target = self._repository / path
            if text is None:
                target.unlink()
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text)
        self._git("add", "--all")
        self._git("commit", "--quiet", "--allow-empty", f"--message={message}")
        return self._git("rev-parse", "HEAD").strip()

    def apply(self, application: Application) -> None:
        """Create or change an Application."""
        self.control_plane.apply([application.manifest(self.repository_url)])

    def sync(self, name: str, *, sync_options: Sequence[str] = ()) -> None:
        """Ask for a sync although nothing differs."""
        operation = {
            "initiatedBy": {"username": "test"},
            "sync": {"prune": True, "syncOptions": list(sync_options)},
        }
        self._patch(name, {"operation": operation})

    def status(self, name: str) -> ApplicationStatus:
        """Return what Argo CD says of an Application."""
        path = f"/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}/applications/{name}"
        found = self.control_plane.api.read(path, {})
        if found is None:
            raise ClusterError(f"there is no Application {name}")
        return ApplicationStatus.model_validate(found.get("status", {}))

    def wait_synced(self, name: str, revision: str, *, timeout_seconds: float = 60) -> ApplicationStatus:
        """Wait until an Application is as ``revision`` says and no sync is under way; return its status."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            status = self.status(name)
            is_current = (status.sync.status, status.sync.revision) == ("Synced", revision)
            if is_current and status.operation_state.phase in ("", "Succeeded"):
                return status
            if time.monotonic() > deadline:
                raise ClusterError(f"{name} was not synced within {timeout_seconds} s: {status!r}")
            time.sleep(_POLL_SECONDS)

    def delete(self, *names: str, timeout_seconds: int = 90) -> None:
        """Delete Applications, and wait until they and their objects are gone."""
        self._kubectl("delete", "application", *names, f"--timeout={timeout_seconds}s")

    @property
    def _directory(self) -> Path:
        return self.control_plane.directory / "argocd"

    @property
    def _repository(self) -> Path:
        return self._directory / "repository"

    def _init_repository(self) -> None:
        self._repository.mkdir()
        self._git("init", "--quiet", f"--initial-branch={_BRANCH}")

    def _git(self, *arguments: str) -> str:
        author = ("-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false")
        return run(["git", "-C", self._repository, *author, *arguments]).stdout

    def _install(self, built: Path, settings: Mapping[str, str]) -> None:
        """Make what the programs expect to find in the API server."""
        crds = [yaml.safe_load((built / "crds" / file).read_text()) for file in _CRDS]
        config = [
            {**manifest, "metadata": {**manifest["metadata"], "namespace": NAMESPACE}}
            for file in sorted((built / "config").glob("argocd-*.yaml"))
            for manifest in yaml.safe_load_all(file.read_text())
        ]
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        self.control_plane.apply([namespace, *crds, *(_with_settings(manifest, settings) for manifest in config)])
        for crd in crds:
            self.control_plane.wait_for_crd(crd["metadata"]["name"])
        self.control_plane.apply([_default_project()])

    def _start_programs(self, built: Path, redis: Path, refresh_seconds: int) -> list[Program]:
        redis_server = self._link("redis-server", redis)
        self._link("argocd", built / "argocd")
        kubeconfig = self.control_plane.write_kubeconfig(USER, ["system:masters"])
        programs = self.control_plane.programs
        environment = self._environment(kubeconfig, refresh_seconds)
        redis_options = ("--bind", "127.0.0.1", "--port", _REDIS.rpartition(":")[2], "--save", "", "--appendonly", "no")
        repo_server, controller = "argocd-repo-server", "argocd-application-controller"
        return [
            programs.start("argocd-redis", [redis_server, *redis_options]),
            programs.start(
                repo_server,
                [
                    self._link(repo_server, built / "argocd"),
                    *("--address", "127.0.0.1", "--port", _REPO_SERVER.rpartition(":")[2]),
                    *("--metrics-address", "127.0.0.1", "--disable-tls", "--redis", _REDIS),
                ],
                env=environment,
            ),
            programs.start(
                controller,
                [
                    self._link(controller, built / "argocd"),
                    *("--kubeconfig", kubeconfig, "--namespace", NAMESPACE, "--redis", _REDIS),
                    *("--repo-server", _REPO_SERVER, "--repo-server-plaintext", "--persist-resource-health"),
                ],
                env=environment,
            ),
        ]

    def _link(self, name: str, program: Path) -> Path:
        """Return ``program`` under the name that tells it which role to take."""
        link = self._directory / "bin" / name
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(program)
        return link

    def _environment(self, kubeconfig: Path, refresh_seconds: int) -> dict[str, str]:
        directories = {
            variable: self._directory / variable.lower()
            for variable in (
                "HOME",
                "TMPDIR",
                "ARGOCD_TLS_DATA_PATH",
                "ARGOCD_SSH_DATA_PATH",
                "ARGOCD_PLUGINSOCKFILEPATH",
            )
        }
        for directory in directories.values():
            directory.mkdir()
        (directories["ARGOCD_SSH_DATA_PATH"] / "ssh_known_hosts").touch()
        return {
            **{variable: str(directory) for variable, directory in directories.items()},
            "ARGOCD_ASK_PASS_SOCK": str(self._directory / "ask-pass.sock"),
            "ARGOCD_GPG_ENABLED": "false",
            # Lets the destination https://kubernetes.default.svc be what KUBECONFIG says, without any DNS.
            "ARGOCD_FAKE_IN_CLUSTER": "true",
            "ARGOCD_RECONCILIATION_TIMEOUT": f"{refresh_seconds}s",
            "ARGOCD_RECONCILIATION_JITTER": "0s",
            "KUBECONFIG": str(kubeconfig),
            "NO_PROXY": "*",
        }

    def _is_healthy(self, port: int) -> bool:
        try:
            with network_namespace(self.control_plane.sandbox.init_pid):
                return httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False, timeout=5).is_success
        except httpx.TransportError:
            return False

    def _patch(self, name: str, change: Manifest) -> None:
        self._kubectl("patch", "application", name, "--type=merge", f"--patch={json.dumps(change)}")

    def _kubectl(self, *arguments: str) -> str:
        kubectl = self.control_plane.binaries.kubernetes / "kubectl"
        options = (f"--kubeconfig={self.control_plane.admin_kubeconfig}", f"--namespace={NAMESPACE}")
        return run([kubectl, *options, *arguments]).stdout


def _with_settings(manifest: Manifest, settings: Mapping[str, str]) -> Manifest:
    match manifest["metadata"]["name"]:
        case "argocd-cm":
            return {**manifest, "data": {**manifest["data"], **settings}}
        case "argocd-secret":
            # Otherwise Argo CD's API server would make it.
            return {**manifest, "stringData": {"server.secretkey": secrets.token_hex(32)}}
        case _:
            return manifest


def _default_project() -> Manifest:
    """The project that Argo CD's API server would make: everything is allowed."""
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AppProject",
        "metadata": {"name": "default", "namespace": NAMESPACE},
        "spec": {
            "sourceRepos": ["*"],
            "destinations": [{"server": "*", "namespace": "*"}],
            "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
        },
    }
