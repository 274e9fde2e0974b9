"""The embedded cluster by hand: start one with "up", use it, and stop it with "down"."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from e2e.cluster import binaries, prerequisites, runs
from e2e.cluster.cluster import Cluster
from e2e.cluster.errors import ClusterError
from e2e.cluster.failures import EXPECTED, INTERRUPTED, sentence
from e2e.cluster.options import ClusterOptions
from e2e.cluster.progress import Progress, in_lines

_console = Console(stderr=True)
_NODE_ACTIONS = {
    "add": "a new node joins",
    "kill": "power is cut",
    "boot": "power comes back",
    "cut": "its network is cut",
    "heal": "its network comes back",
    "kill-kubelet": "its kubelet is killed, its pods go on",
    "start-kubelet": "its kubelet runs again",
}
_WIDE_ENOUGH = 1000
_SHELL_PROGRAMS = (("kubernetes", "kubectl"), ("helm", "helm"))


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit status."""
    options = parsed(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except EXPECTED as error:
        _console.print(f"[red]error:[/] {escape(sentence(error))}", highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        _console.print("stopped")
        return INTERRUPTED


def up(options: argparse.Namespace) -> int:
    """Start a cluster that stays up."""
    started = time.monotonic()
    wanted = _cluster_options(options)
    with _progress() as progress:
        cluster = Cluster.start(wanted, progress=progress)
    _console.print(f"[green]{cluster.name} is up[/] after {time.monotonic() - started:.1f} s.")
    say = partial(_console.print, highlight=False, soft_wrap=True)
    say(f"  use it:  {_command('kubectl', cluster.name)} get nodes")
    say(f"  stop it: {_command('down', cluster.name)}")
    say("  or point this shell's kubectl and helm at it:")
    print(_environment(cluster))
    return 0


def _cluster_options(options: argparse.Namespace) -> ClusterOptions:
    try:
        return ClusterOptions(
            name=options.name,
            nodes=options.nodes,
            gpus_per_node=options.gpus,
            prometheus=options.prometheus,
            crds=tuple(options.crds),
            detached=True,
        )
    except ValidationError as error:
        raise ClusterError("; ".join(f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors())) from None


def down(options: argparse.Namespace) -> int:
    """Stop a cluster and remove every trace of it."""
    for name in runs.taken() if options.all else [options.name]:
        Cluster.remove(name)
        _console.print(f"{name} is gone")
    runs.reap_dead_runs()
    return 0


def status(options: argparse.Namespace) -> int:
    """List the clusters that are up, their nodes, and what of them died."""
    columns = [Column(title, overflow="fold") for title in ("NAME", "APISERVER", "NODES", "HEALTH")]
    table = Table(*columns, box=None)
    for name in runs.taken():
        table.add_row(name, *_state(name))
    # What reads this from a pipe has no use for lines that are broken or cut.
    console = Console(width=None if sys.stdout.isatty() else _WIDE_ENOUGH)
    console.print(table if table.rows else "no cluster is up")
    return 0


def _state(name: str) -> tuple[str, str, str]:
    """Return the apiserver, the nodes and the health of a cluster, as far as they can be told."""
    if not runs.is_up(name):
        return "", "", "is starting"
    try:
        cluster = Cluster.attach(name)
        dead = cluster.dead_programs()
        health = f"dead: {', '.join(dead)}" if dead else "all programs run"
        return cluster.server, " ".join(cluster.nodes()), health
    except EXPECTED as error:
        return "", "", sentence(error)


def kubectl(options: argparse.Namespace) -> int:
    """Run kubectl against a cluster."""
    return _become(options, "kubernetes", "kubectl")


def helm(options: argparse.Namespace) -> int:
    """Run Helm against a cluster."""
    return _become(options, "helm", "helm")


def env(options: argparse.Namespace) -> int:
    """Print what points a shell at a cluster: eval "$(python -m e2e.cluster env)"."""
    print(_environment(Cluster.attach(options.name)))
    return 0


def run(options: argparse.Namespace) -> int:
    """Run a command inside the cluster's network, where names and addresses of services and pods work."""
    cluster = Cluster.attach(options.name)
    path = os.pathsep.join([*_program_directories(cluster), os.environ.get("PATH", os.defpath)])
    arguments = options.arguments or [os.environ.get("SHELL", "/bin/sh")]
    return _status(cluster.popen(arguments, env={**cluster.env(), "PATH": path}))


def _status(command: subprocess.Popen[Any]) -> int:
    """Wait for a command and return its exit status, as a shell counts it."""
    while True:
        try:
            status = command.wait()
        except KeyboardInterrupt:  # the terminal told the command too, and it knows what to do
            continue
        return status if status >= 0 else 128 - status


def logs(options: argparse.Namespace) -> int:
    """Print what a part of the control plane, or of a node, printed."""
    cluster = Cluster.attach(options.name)
    started = cluster.node_programs(options.node) if options.node else cluster.programs()
    if options.program not in started:
        place = f"on {options.node}" if options.node else "in the control plane (see --node for those of nodes)"
        raise ClusterError(f"{options.program} was not started {place}; there are: {', '.join(started)}")
    log = cluster.node_logs(options.node, options.program) if options.node else cluster.logs(options.program)
    sys.stdout.write(log)
    return 0


def node(options: argparse.Namespace) -> int:
    """Add a node, or let something happen to one."""
    if options.gpus and options.action != "add":
        raise ClusterError("--gpus goes with add alone: a node that is booted has the GPUs that it had")
    cluster = Cluster.attach(options.name)
    with _progress() as progress:
        _node_actions(cluster, options.gpus, progress)[options.action](options.node)
    return 0


def _node_actions(cluster: Cluster, gpus: int, progress: Progress) -> Mapping[str, Callable[[str], object]]:
    return {
        "add": lambda name: cluster.add_node(name, gpus=gpus, progress=progress),
        "kill": cluster.kill_node,
        "boot": cluster.boot_node,
        "cut": cluster.cut_network,
        "heal": cluster.heal_network,
        "kill-kubelet": cluster.kill_kubelet,
        "start-kubelet": cluster.start_kubelet,
    }


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
    start.add_argument("--nodes", type=_count, default=1, help="0 is a control plane alone (default: %(default)s)")
    start.add_argument("--gpus", type=_count, default=0, help="nvidia.com/gpu of each node (default: %(default)s)")
    start.add_argument(
        "--prometheus", action="store_true", help="start a Prometheus that scrapes pods annotated prometheus.io/scrape"
    )
    start.add_argument(
        "--crds", metavar="PATH", type=_existing_path, action="append", default=[],
        help="file or directory of custom resource definitions to install; may be repeated",
    )  # fmt: skip
    add(down).add_argument("--all", action="store_true", help="all clusters that are up, tests' among them")
    add(status, named=False)
    add(env)
    for function, passed_on in (
        (kubectl, "what kubectl is to do; --name comes before it"),
        (helm, "what Helm is to do; --name comes before it"),
        (run, "the command, after -- or --name; left out: a shell"),
    ):
        add(function).add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help=passed_on)
    add(pull).add_argument("images", nargs="+", metavar="IMAGE", help="as pods name it: docker.io/library/web:1")
    printed = add(logs)
    printed.add_argument("program", help="kube-apiserver for example; a wrong one is answered with all there are")
    printed.add_argument("--node", help="a program of this node, kubelet for example, instead of the control plane's")
    changed = add(node)
    changed.add_argument(
        "action", choices=_NODE_ACTIONS, metavar="ACTION",
        help="; ".join(f"{action}: {meaning}" for action, meaning in _NODE_ACTIONS.items()),
    )  # fmt: skip
    changed.add_argument("node", metavar="NODE", help="the node's name: node-1 for example")
    changed.add_argument("--gpus", type=_count, default=0, help="GPUs of a node that is added (default: %(default)s)")
    add(build, named=False)
    return parser


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """Return the options; what kubectl, Helm or another command is given may begin with an option of its own, or --."""
    parser = _parser()
    options, unknown = parser.parse_known_args(arguments)
    if options.command in (kubectl, helm, run):
        # argparse leaves such an option out of the rest, which it precedes.
        passed_on = [*unknown, *options.arguments]
        options.arguments = passed_on[1:] if passed_on[:1] == ["--"] else passed_on
    elif unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    return options


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not 0, 1, 2 or so on")
    return int(text)


def _existing_path(text: str) -> Path:
    path = Path(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"{text} does not exist")
    return path


def _become(options: argparse.Namespace, part: str, program: str) -> int:
    cluster = Cluster.attach(options.name)
    path = cluster.program(part, program)
    os.execve(path, [program, *options.arguments], cluster.env())  # noqa: S606 - this is what was asked for


def _environment(cluster: Cluster) -> str:
    return f"export KUBECONFIG={cluster.kubeconfig} PATH={os.pathsep.join(_program_directories(cluster))}:$PATH"


def _program_directories(cluster: Cluster) -> list[str]:
    return sorted({str(cluster.program(part, program).parent) for part, program in _SHELL_PROGRAMS})


def _command(command: str, name: str) -> str:
    python = Path(sys.executable)
    shown = python.relative_to(Path.cwd()) if python.is_relative_to(Path.cwd()) else python
    return f"{shown} -m e2e.cluster {command} --name {name}"


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
