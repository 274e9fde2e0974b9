"""What a fleet costs the operator and the API server: python -m benchmarks.fleet [--models 1000].

Real etcd, API server and controllers of the embedded cluster, without nodes; the operator is a process beside them.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml

from e2e.cluster import AuditEvent, Cluster, ClusterOptions
from e2e.scenarios.operator_process import USER, OperatorProcess, operator_process, wait_until
from e2e.scenarios.platform import PROJECT

NAMESPACE = "fleet"
ONE_MORE = "one-more"
LOOKS = "tfserving_operator_reconcile_duration_seconds_count"
QUEUE = "tfserving_operator_queue_depth"
CACHED = "tfserving_operator_child_cache_objects"
LONG_SECONDS = 1800.0
QUIET_SECONDS = 60.0
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class Creation:
    """A fleet is made, then left alone. Field names are those of the printed table."""

    seconds_until_all_are_made: float
    requests_a_model: float
    operator_cpu_seconds: float
    requests_in_a_quiet_minute: int
    cpu_percent_when_quiet: float
    memory_mib: float


@dataclass(frozen=True, kw_only=True)
class Restart:
    """A new process meets the fleet, in which nothing has changed."""

    restart_seconds_until_all_are_looked_at: float
    restart_requests: int
    restart_writes: int


@dataclass(frozen=True, kw_only=True)
class Change:
    """Every model was changed while nobody looked; a new process has them all to do, and one more comes."""

    mass_change_seconds: float
    one_more_model_seconds: float
    """From applying one more model, in the middle of it, to its Deployment."""
    models_still_waiting_then: int


class Fleet:
    """Many ServedModels on a cluster without nodes."""

    longest_answer_seconds = 0.0
    """Of the operator's metrics page: how long its event loop was busy with something else."""

    def __init__(self, cluster: Cluster, models: int, folder: Path) -> None:
        self.cluster = cluster
        self.names = [f"model-{number:05}" for number in range(models)]
        self._folder = folder

    @contextmanager
    def operator(self, name: str) -> Iterator[OperatorProcess]:
        with operator_process(self.cluster, self._folder / name) as operator:
            wait_until(lambda: operator.probe("/healthz"), "it starts")
            yield operator

    def apply(self, *names: str, replicas: int) -> None:
        file = self._folder / "models.yaml"
        file.write_text(yaml.dump_all((_served_model(name, replicas) for name in names), Dumper=yaml.CSafeDumper))
        self.cluster.kubectl("apply", "--server-side", "--filename", str(file))

    def metric(self, operator: OperatorProcess, name: str, **labels: str) -> float:
        began = time.monotonic()
        value = operator.metric(name, timeout_seconds=60, **labels)
        self.longest_answer_seconds = max(self.longest_answer_seconds, time.monotonic() - began)
        return value

    def requests(self, since: datetime) -> list[AuditEvent]:
        """What the operator asked of the API server, watches left out: one for each kind, held for minutes."""
        return [event for event in self.cluster.audit_events(user=USER, since=since) if event.verb != "watch"]

    def deployments(self, since: datetime) -> list[AuditEvent]:
        events = self.cluster.audit_events(user=USER, verb="patch", resource="deployments", since=since)
        return [event for event in events if event.code < 300]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=1000, help="ServedModels (default: %(default)s)")
    models: int = parser.parse_args().models
    with tempfile.TemporaryDirectory() as folder, Cluster.start(ClusterOptions(crds=(PROJECT / "crds",))) as cluster:
        cluster.kubectl("create", "namespace", NAMESPACE)
        fleet = Fleet(cluster, models, Path(folder))
        print(table(models, create(fleet), restart(fleet), change(fleet)))
        print(f"| longest wait for the metrics page, seconds | {fleet.longest_answer_seconds:.2f} |")
    return 0


def create(fleet: Fleet) -> Creation:
    with fleet.operator("first") as operator:
        began, since = time.monotonic(), _now()
        fleet.apply(*fleet.names, replicas=1)
        _say(f"applied after {time.monotonic() - began:.1f} s")
        wait_until(lambda: _is_made(operator, fleet), "all are made", timeout_seconds=LONG_SECONDS, poll_seconds=1)
        seconds, cpu_seconds = time.monotonic() - began, _cpu_seconds(operator)
        _say(f"made after {seconds:.1f} s")
        wait_until(lambda: _is_quiet(fleet), "it is quiet", timeout_seconds=LONG_SECONDS, poll_seconds=2)
        requests = len(fleet.requests(since))
        quiet, quiet_cpu_seconds = _now(), _cpu_seconds(operator)
        time.sleep(QUIET_SECONDS)
        return Creation(
            seconds_until_all_are_made=seconds,
            requests_a_model=requests / len(fleet.names),
            operator_cpu_seconds=cpu_seconds,
            requests_in_a_quiet_minute=len(fleet.requests(quiet)),
            cpu_percent_when_quiet=100 * (_cpu_seconds(operator) - quiet_cpu_seconds) / QUIET_SECONDS,
            memory_mib=_memory_mib(operator),
        )


def restart(fleet: Fleet) -> Restart:
    _say("restarting")
    since, began = _now(), time.monotonic()
    with fleet.operator("second") as operator:
        wait_until(
            lambda: fleet.metric(operator, LOOKS) >= len(fleet.names), "all are looked at", timeout_seconds=LONG_SECONDS
        )
        seconds = time.monotonic() - began
    requests = fleet.requests(since)
    return Restart(
        restart_seconds_until_all_are_looked_at=seconds,
        restart_requests=len(requests),
        restart_writes=sum(event.verb not in ("get", "list") for event in requests),
    )


def change(fleet: Fleet) -> Change:
    _say("changing every model while nobody looks")
    fleet.apply(*fleet.names, replicas=2)
    since, began = _now(), time.monotonic()
    with fleet.operator("third") as operator:
        wait_until(lambda: fleet.metric(operator, QUEUE) > len(fleet.names) / 2, "a backlog")
        one_more_seconds, waiting = _one_more(fleet, operator)
        wait_until(
            lambda: len({event.name for event in fleet.deployments(since)}) > len(fleet.names),
            "all are changed",
            timeout_seconds=LONG_SECONDS,
            poll_seconds=0.5,
        )
        return Change(
            mass_change_seconds=time.monotonic() - began,
            one_more_model_seconds=one_more_seconds,
            models_still_waiting_then=waiting,
        )


def table(models: int, *parts: Creation | Restart | Change) -> str:
    """The results as Markdown."""
    rows = [("models", models), *(row for part in parts for row in asdict(part).items())]
    shown = [
        f"| {name.replace('_', ' ')} | {f'{value:,.2f}' if isinstance(value, float) else f'{value:,}'} |"
        for name, value in rows
    ]
    return "\n".join(["| what | value |", "| --- | ---: |", *shown])


def _one_more(fleet: Fleet, operator: OperatorProcess) -> tuple[float, int]:
    since, began = _now(), time.monotonic()
    fleet.apply(ONE_MORE, replicas=1)
    wait_until(lambda: any(event.name == f"{ONE_MORE}-default" for event in fleet.deployments(since)), "its Deployment")
    seconds = time.monotonic() - began
    return seconds, int(fleet.metric(operator, QUEUE))


def _is_made(operator: OperatorProcess, fleet: Fleet) -> bool:
    return fleet.metric(operator, CACHED, kind="Deployment") >= len(fleet.names) and fleet.metric(operator, QUEUE) == 0


def _is_quiet(fleet: Fleet) -> bool:
    return not fleet.requests(datetime.fromtimestamp(time.time() - 10, UTC))


def _served_model(name: str, replicas: int) -> dict[str, object]:
    models = [{"name": "m", "source": {"uri": "https://models.example.com/m.tar.gz"}}]
    return {
        "apiVersion": "tfserving.dev/v1alpha1",
        "kind": "ServedModel",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"models": models, "replicas": replicas},
    }


def _cpu_seconds(operator: OperatorProcess) -> float:
    after_name = Path(f"/proc/{operator.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / TICKS_PER_SECOND


def _memory_mib(operator: OperatorProcess) -> float:
    lines = Path(f"/proc/{operator.process.pid}/status").read_text().splitlines()
    (resident,) = (line for line in lines if line.startswith("VmRSS:"))
    return int(resident.split()[1]) / 1024


def _now() -> datetime:
    return datetime.now(UTC)


def _say(what: str) -> None:
    print(what, file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
