"""The embedded cluster: start, use, stop."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from e2e.cluster import binaries, images, network, oci, prerequisites, runs
from e2e.cluster.argocd import ArgoCd
from e2e.cluster.audit import AuditEvent, read_audit_log
from e2e.cluster.commands import run
from e2e.cluster.control_plane import ControlPlane
from e2e.cluster.errors import ClusterError, NotRunning
from e2e.cluster.machine_view import NodeSize
from e2e.cluster.netns import network_namespace
from e2e.cluster.nodes import Nodes, check_node_name
from e2e.cluster.options import ClusterOptions
from e2e.cluster.progress import Progress, log_progress
from e2e.cluster.prometheus import Prometheus
from e2e.cluster.registry import Registry
from e2e.cluster.runs import RunRecord
from e2e.cluster.sandbox import Sandbox, SandboxSetup


class Cluster:
    """A running Kubernetes; make one with ``start``, or find one that is up with ``attach``."""

    def __init__(self, run: runs.Run | None, control_plane: ControlPlane, record: RunRecord) -> None:
        """Use ``start`` or ``attach`` instead."""
        self._run = run
        self._control_plane = control_plane
        self._record = record

    @classmethod
    def start(cls, options: ClusterOptions, *, progress: Progress = log_progress) -> Self:
        """Start a cluster and wait until it can be used; what it needs is built or installed first."""
        runs.check_free(options.name)
        prerequisites.ensure_control_plane(progress)
        if options.nodes:
            prerequisites.ensure_nodes(progress)
        built = binaries.build(_parts_for(options), progress=progress)
        claimed = runs.claim(options.name)
        try:
            return cls._start(options, claimed, built, progress)
        except BaseException:
            if init := runs.find_init(options.name):
                Sandbox(init).kill()
            claimed.give_up()
            raise

    @classmethod
    def attach(cls, name: str) -> Self:
        """Return the cluster that is up under ``name``; raise NotRunning if there is none."""
        directory, record = runs.find(name)
        control_plane = ControlPlane(
            directory=directory,
            sandbox=Sandbox(record.init),
            link=record.link,
            binaries=binaries.Binaries(record.programs),
            unreachable_toleration_seconds=record.unreachable_toleration_seconds,
        )
        return cls(None, control_plane, record)

    @classmethod
    def remove(cls, name: str) -> None:
        """Stop the cluster ``name``, whichever version of this code started it, even before it is up.

        Raise NotRunning if there is none.
        """
        init = runs.find_init(name)
        if init is None:
            raise NotRunning(f"no cluster named {name} is up; up are: {', '.join(runs.running()) or 'none'}")
        Sandbox(init).kill()
        runs.remove_dead(name)

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self._record.name

    @property
    def directory(self) -> Path:
        """Where the cluster keeps its files while it runs."""
        return self._control_plane.directory

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig with all rights that works from the host's own network."""
        return self._control_plane.admin_kubeconfig

    @property
    def server(self) -> str:
        """The apiserver's URL, as the host reaches it."""
        return self._control_plane.server

    @property
    def host_address(self) -> str:
        """The address under which pods and programs inside reach servers on the host."""
        return self._record.link.host_address

    @property
    def prometheus(self) -> Prometheus:
        """The cluster's Prometheus; start it, if the options did not ask for it."""
        return Prometheus(self._control_plane)

    @property
    def argo_cd(self) -> ArgoCd:
        """The cluster's Argo CD, which has to be started."""
        return ArgoCd(self._control_plane)

    def kubectl(
        self,
        *arguments: str | Path,
        input: str | None = None,  # noqa: A002 - as subprocess.run calls it
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl with all rights; raise CommandFailed when it fails and ``check``."""
        return run([self.program("kubernetes", "kubectl"), *arguments], stdin=input, env=self.env(), check=check)

    def read(self, path: str, **query: str) -> dict[str, Any] | None:
        """Return the JSON that the apiserver has at ``path``, None where there is nothing.

        In a loop this is far cheaper than kubectl. Raise httpx.HTTPError where it does not answer, or refuses.
        """
        return self._control_plane.api.read(path, query)

    def helm(
        self,
        *arguments: str | Path,
        input: str | None = None,  # noqa: A002 - as subprocess.run calls it
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run Helm with all rights; raise CommandFailed when it fails and ``check``."""
        return run([self.program("helm", "helm"), *arguments], stdin=input, env=self.env(), check=check)

    def env(self) -> dict[str, str]:
        """Return this process's environment with KUBECONFIG pointing here, and proxies out of the way."""
        kept = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        return {**kept, "KUBECONFIG": str(self.kubeconfig)}

    def kubeconfig_as(self, user: str, groups: Sequence[str] = (), *, inside: bool = False) -> str:
        """Return a kubeconfig that makes its holder ``user`` in ``groups``, as RBAC sees it."""
        return self._control_plane.kubeconfig(user, groups, inside=inside)

    def network(self) -> AbstractContextManager[None]:
        """Let sockets that the calling thread opens live in the cluster's network (pod and service addresses)."""
        return network_namespace(self._control_plane.sandbox.init_pid)

    def popen(self, command: Sequence[str | Path], **options: Any) -> subprocess.Popen[Any]:
        """Start a process inside the cluster's network; ``options`` are those of subprocess.Popen.

        Its pid is one of the host's, so it can be signalled as usual. It does not end with the cluster.
        """
        # To enter a mount namespace is to leave the working directory.
        directory = Path(options.pop("cwd", None) or ".").absolute()
        inside = self._control_plane.sandbox.command(["env", f"--chdir={directory}", *command], pid=False)
        return subprocess.Popen(inside, **options)

    def audit_events(
        self,
        *,
        user: str | None = None,
        verb: str | None = None,
        resource: str | None = None,
        since: datetime | None = None,
    ) -> list[AuditEvent]:
        """Return the requests that the apiserver answered and that match everything given, oldest first."""
        path = self._control_plane.audit_log
        return read_audit_log(path, user=user, verb=verb, resource=resource, since=since)

    def logs(self, program: str) -> str:
        """Return what a part of the cluster printed; see ``programs`` for their names."""
        return self._control_plane.programs.log(program)

    def programs(self) -> list[str]:
        """Return the names of the cluster's parts that ``logs`` takes."""
        return self._control_plane.programs.names()

    def nodes(self) -> list[str]:
        """Return the names of the nodes, killed ones included."""
        return [node.name for node in self._nodes.all()]

    def add_node(self, name: str | None = None, *, gpus: int = 0, progress: Progress = log_progress) -> str:
        """Add a node, wait until it is Ready, and return its name."""
        if name is not None:
            check_node_name(name)
        prerequisites.ensure_nodes(progress)
        built = binaries.build(binaries.NODE_PARTS, progress=progress)
        self._control_plane = replace(self._control_plane, binaries=self._control_plane.binaries.merged_with(built))
        runs.remember_programs(self.directory, built.directories)
        if name is None:
            return self._nodes.add_next(gpus=gpus, progress=progress)
        self._nodes.add([name], gpus=gpus, progress=progress)
        return name

    def kill_node(self, name: str) -> None:
        """Kill everything on a node at once, pods included, as a power cut would."""
        self._nodes.get(name).kill()

    def boot_node(self, name: str) -> None:
        """Start a killed node again, with the disk and the GPUs that it had, and wait until it is Ready."""
        self._nodes.boot(name)

    def kill_kubelet(self, name: str) -> None:
        """Kill the kubelet of a node; its pods go on."""
        self._nodes.kill_kubelet(name)

    def start_kubelet(self, name: str) -> None:
        """Start the kubelet of a node again, which must have been killed."""
        self._nodes.start_kubelet(name)

    def cut_network(self, name: str) -> None:
        """Cut a node off from everything, while its pods go on."""
        self._nodes.cut_network(name)

    def heal_network(self, name: str) -> None:
        """Undo ``cut_network``."""
        self._nodes.heal_network(name)

    def break_gpus(self, node: str, *gpus: int) -> None:
        """Let these GPUs of a node (counted from 0) be unhealthy, and all others healthy; none heals all."""
        found = self._nodes.get(node)
        found.set_gpus(found.gpus().model_copy(update={"unhealthy": frozenset(gpus)}))

    def node_logs(self, name: str, program: str) -> str:
        """Return what containerd, kubelet or kube-proxy of a node printed."""
        return self._nodes.get(name).programs.log(program)

    def node_programs(self, name: str) -> list[str]:
        """Return the names of a node's parts that ``node_logs`` takes."""
        return self._nodes.get(name).programs.names()

    def build_image(
        self,
        *,
        context: Path,
        dockerfile: Path,
        tag: str,
        build_args: Mapping[str, str] | None = None,
        progress: Progress = log_progress,
    ) -> None:
        """Build an image, unless that was done before, and push it to be pulled as ``tag`` by pods.

        The build argument BASE is a Debian with Python, unless it is given.
        """
        wanted = images.ImageBuild(context, dockerfile, build_args or {})
        self.push_image(images.build(wanted, progress=progress), tag)

    def copy_image(self, reference: str, *, progress: Progress = log_progress) -> None:
        """Copy an image from its registry, which this machine reaches, to be pulled by the same name by pods."""
        registry = self._registry
        layout = images.pull(reference, crane=self.program("crane", "crane"), progress=progress)
        registry.push(layout, reference)

    def push_image(self, layout: Path, tag: str) -> None:
        """Push the image in an OCI layout directory, to be pulled as ``tag`` by pods."""
        self._registry.push(layout, tag)

    def push_files(self, directory: Path, tag: str) -> None:
        """Push an image that holds the files below ``directory`` and nothing else, as for an image volume."""
        self._registry.push_files(oci.files_below(directory), tag)

    def dead_programs(self) -> list[str]:
        """Return the parts of the cluster that were started and do not run any more, as "node/program" on nodes."""
        control_plane = [(name, self._control_plane.programs.get(name)) for name in self.programs()]
        on_nodes = [
            (f"{node.name}/{name}", node.programs.get(name))
            for node in self._nodes.all()
            for name in node.programs.names()
        ]
        return [name for name, program in (*control_plane, *on_nodes) if not program.is_alive()]

    def stop_apiserver(self) -> None:
        """Stop the apiserver, as in an upgrade or a crash of the control plane."""
        self._control_plane.stop_apiserver()

    def start_apiserver(self) -> None:
        """Start the apiserver again and wait until it is ready."""
        self._control_plane.start_apiserver()

    def stop(self) -> None:
        """Kill everything at once and remove every trace; does nothing when it has been stopped."""
        self._control_plane.sandbox.kill()
        for node in self._nodes.all():
            node.programs.forget()
        self._control_plane.programs.forget()
        if self._run is not None:
            self._run.give_up()
            self._run = None
        else:
            runs.remove_dead(self.name)

    def __enter__(self) -> Self:
        """Return the cluster, which is stopped on leaving."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the cluster."""
        self.stop()

    @classmethod
    def _start(cls, options: ClusterOptions, run: runs.Run, built: binaries.Binaries, progress: Progress) -> Self:
        progress("making the cluster's network")
        sandbox = _make_sandbox(run)
        run.remember_init(sandbox.init)
        control_plane = ControlPlane(
            directory=run.directory,
            sandbox=sandbox,
            link=network.build_hub(sandbox),
            binaries=built,
            unreachable_toleration_seconds=options.unreachable_toleration_seconds,
            node_grace_seconds=options.node_grace_seconds,
        )
        control_plane.start(crds=options.crds, progress=progress)
        if options.nodes:
            size = _node_size(options)
            names = [f"node-{number}" for number in range(1, options.nodes + 1)]
            Nodes(control_plane, run.cgroup, size).add(names, gpus=options.gpus_per_node, progress=progress)
        if options.prometheus:
            progress("starting Prometheus")
            Prometheus(control_plane).start(progress=progress)
        record = RunRecord(
            name=options.name,
            init_pid=sandbox.init.pid,
            init_started_ticks=sandbox.init.started_ticks,
            cgroup=run.cgroup,
            link=control_plane.link,
            programs=dict(built.directories),
            node_size=_node_size(options),
            unreachable_toleration_seconds=options.unreachable_toleration_seconds,
        )
        cluster = cls(run, control_plane, record)
        run.publish(record, stays=options.detached)
        return cluster

    @property
    def _nodes(self) -> Nodes:
        return Nodes(self._control_plane, self._record.cgroup, self._record.node_size)

    @property
    def _registry(self) -> Registry:
        if "registry" not in self.programs():
            raise ClusterError(f"{self.name} has no registry to put images into; it comes with the first node")
        return Registry(self._control_plane)

    def program(self, part: str, program: str) -> Path:
        """Return the path of a program that the cluster uses, such as kubectl of the part kubernetes."""
        found = self._control_plane.binaries.directories.get(part)
        if found is None:
            raise ClusterError(f"{self.name} does not use {part}")
        return found / program


def _make_sandbox(run: runs.Run) -> Sandbox:
    """Make the sandbox that holds all of the cluster, tied to this process."""
    resolver = run.directory / "resolv.conf"
    search = "default.svc.cluster.local svc.cluster.local cluster.local"
    resolver.write_text(f"nameserver {network.HUB_ADDRESS}\nsearch {search}\noptions ndots:5\n")
    host_resolver = Path("/etc/resolv.conf").resolve()
    setup = SandboxSetup(
        binds=[(resolver, host_resolver)] if host_resolver.exists() else [],
        sysctls=network.SYSCTLS,
    )
    return Sandbox.create(
        setup,
        log=run.directory / "sandbox.log",
        owner_descriptor=run.owner.reader,
        lock_descriptor=run.lock_descriptor,
    )


def _node_size(options: ClusterOptions) -> NodeSize:
    return NodeSize(
        cpus=options.cpus_per_node,
        memory_bytes=options.memory_per_node_bytes,
        disk_bytes=options.disk_per_node_bytes,
    )


def _parts_for(options: ClusterOptions) -> Sequence[str]:
    on_nodes = binaries.NODE_PARTS if options.nodes else ()
    prometheus = binaries.PROMETHEUS_PARTS if options.prometheus else ()
    return [*binaries.CONTROL_PLANE_PARTS, *on_nodes, *prometheus]
