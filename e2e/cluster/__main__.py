"""The embedded cluster by hand: ``python -m e2e.cluster up`` and friends."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from e2e.cluster import binaries, prerequisites, runs
from e2e.cluster.cluster import Cluster
from e2e.cluster.errors import ClusterError
from e2e.cluster.options import ClusterOptions
from e2e.cluster.progress import Progress, in_lines

_console = Console(stderr=True)


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit status."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except ClusterError as error:
        _console.print(f"[red]error:[/] {error}", highlight=False)
        return 1


def up(options: argparse.Namespace) -> int:
    """Start a cluster that stays up."""
    started = time.monotonic()
    wanted = ClusterOptions(
        name=options.name,
        nodes=options.nodes,
        gpus_per_node=options.gpus,
        prometheus=options.prometheus,
        crds=tuple(options.crds),
        detached=True,
    )
    with _progress() as progress:
        cluster = Cluster.start(wanted, progress=progress)
    _console.print(f"[green]{cluster.name} is up[/] after {time.monotonic() - started:.1f} s. To use it:")
    _console.print(f"  stop it: {_command('down', cluster.name)}", highlight=False, soft_wrap=True)
    print(_environment(cluster))
    return 0


def down(options: argparse.Namespace) -> int:
    """Stop a cluster and remove every trace of it."""
    for name in runs.running() if options.all else [options.name]:
        Cluster.remove(name)
        _console.print(f"{name} is gone")
    runs.reap_dead_runs()
    return 0


def status(options: argparse.Namespace) -> int:
    """List the clusters that are up."""
    table = Table("NAME", "APISERVER", "NODES", "HEALTH", box=None)
    for name in runs.running():
        cluster = Cluster.attach(name)
        dead = cluster.dead_programs()
        health = f"dead: {', '.join(dead)}" if dead else "all programs run"
        table.add_row(cluster.name, cluster.server, " ".join(cluster.nodes()), health)
    Console().print(table if table.rows else "no cluster is up")
    return 0


def kubectl(options: argparse.Namespace) -> int:
    """Become kubectl."""
    return _become(options, "kubernetes", "kubectl")


def helm(options: argparse.Namespace) -> int:
    """Become Helm."""
    return _become(options, "helm", "helm")


def env(options: argparse.Namespace) -> int:
    """Print what points a shell at a cluster."""
    print(_environment(Cluster.attach(options.name)))
    return 0


def run(options: argparse.Namespace) -> int:
    """Run a command inside the cluster's network, where names and addresses of services and pods work."""
    return int(Cluster.attach(options.name).popen(_plain(options.arguments)).wait())


def logs(options: argparse.Namespace) -> int:
    """Print what a part of the cluster printed."""
    cluster = Cluster.attach(options.name)
    try:
        log = cluster.node_logs(options.node, options.program) if options.node else cluster.logs(options.program)
    except KeyError:
        raise ClusterError(f"{options.program} was not started there") from None
    sys.stdout.write(log)
    return 0


def node(options: argparse.Namespace) -> int:
    """Do something to a node."""
    cluster = Cluster.attach(options.name)
    actions: dict[str, Callable[[str], object]] = {
        "add": lambda name: cluster.add_node(name, gpus=options.gpus),
        "kill": cluster.kill_node,
        "boot": cluster.boot_node,
        "cut": cluster.cut_network,
        "heal": cluster.heal_network,
        "kill-kubelet": cluster.kill_kubelet,
        "start-kubelet": cluster.start_kubelet,
    }
    actions[options.action](options.node)
    return 0


def pull(options: argparse.Namespace) -> int:
    """Copy images from their registries into the cluster's, for pods to pull by the same names."""
    cluster = Cluster.attach(options.name)
    with _progress() as progress:
        for image in options.images:
            cluster.copy_image(image, progress=progress)
    return 0


def build(options: argparse.Namespace) -> int:
    """Build and install everything that a cluster needs, without starting one."""
    with _progress() as progress:
        prerequisites.ensure_control_plane(progress)
        prerequisites.ensure_nodes(progress)
        prerequisites.ensure_image_builder(progress)
        built = binaries.build(binaries.PARTS, progress=progress)
    for part, directory in built.directories.items():
        _console.print(f"{part} {binaries.PARTS[part].version}: {directory}", highlight=False, soft_wrap=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m e2e.cluster", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(function: Callable[[argparse.Namespace], int], *, named: bool = True) -> argparse.ArgumentParser:
        command = commands.add_parser(function.__name__, help=function.__doc__, description=function.__doc__)
        command.set_defaults(command=function)
        if named:
            command.add_argument("--name", default="dev", help="the cluster's name (default: %(default)s)")
        return command

    start = add(up)
    start.add_argument("--nodes", type=int, default=1, help="0 is a control plane alone (default: %(default)s)")
    start.add_argument("--gpus", type=int, default=0, help="nvidia.com/gpu of each node (default: %(default)s)")
    start.add_argument("--prometheus", action="store_true", help="scrape pods annotated prometheus.io/scrape")
    start.add_argument("--crds", type=Path, action="append", default=[], help="file or directory; may be repeated")
    add(down).add_argument("--all", action="store_true", help="all clusters that are up")
    add(status, named=False)
    add(env)
    for function in (kubectl, helm, run):
        add(function).add_argument("arguments", nargs=argparse.REMAINDER)
    add(pull).add_argument("images", nargs="+", metavar="IMAGE")
    printed = add(logs)
    printed.add_argument("program")
    printed.add_argument("--node", help="a program of this node instead of the control plane's")
    changed = add(node)
    actions = ["add", "kill", "boot", "cut", "heal", "kill-kubelet", "start-kubelet"]
    changed.add_argument("action", choices=actions)
    changed.add_argument("node")
    changed.add_argument("--gpus", type=int, default=0, help="GPUs of a node that is added")
    add(build, named=False)
    return parser


def _become(options: argparse.Namespace, part: str, program: str) -> int:
    cluster = Cluster.attach(options.name)
    path = cluster.program(part, program)
    os.execve(path, [program, *_plain(options.arguments)], cluster.env())  # noqa: S606 - this is what was asked for


def _plain(arguments: list[str]) -> list[str]:
    """Drop the -- that may set the arguments of the command off from ours."""
    return arguments[1:] if arguments[:1] == ["--"] else arguments


def _environment(cluster: Cluster) -> str:
    directories = {cluster.program("kubernetes", "kubectl").parent, cluster.program("helm", "helm").parent}
    return f"export KUBECONFIG={cluster.kubeconfig} PATH={':'.join(map(str, sorted(directories)))}:$PATH"


def _command(command: str, name: str) -> str:
    return f"python -m e2e.cluster {command} --name {name}"


@contextmanager
def _progress() -> Iterator[Progress]:
    """Show on one line what is being done; without a terminal, print when each piece of it begins and ends."""
    if not _console.is_terminal:
        with in_lines(lambda line: _console.print(line, highlight=False, markup=False, soft_wrap=True)) as progress:
            yield progress
        return
    with _console.status("starting") as line:
        yield lambda phrase: line.update(phrase[: _console.width - 4])


if __name__ == "__main__":
    sys.exit(main())
