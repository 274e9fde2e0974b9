"""What reading the fleet costs: python -m benchmarks.prometheus [--models 1 100 1000].

A real Prometheus scrapes pages like those of TensorFlow Serving; the operator's own client reads them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml

from benchmarks.prometheus.exposition import serve
from e2e.cluster import binaries
from tfserving_operator.api.refs import ModelKey
from tfserving_operator.autoscaling.buckets import snap_objective
from tfserving_operator.autoscaling.signals import SignalState
from tfserving_operator.clients.prometheus import FleetReading, PrometheusClient, PrometheusOptions, SignalWish
from tfserving_operator.clients.prometheus_endpoint import PrometheusAddresses, PrometheusEndpoint
from tfserving_operator.clients.prometheus_signals import ReadingRules

PODS_PER_MODEL = 2
SCRAPE_SECONDS = 15
TICK_SECONDS = 2.0
OBJECTIVES_MICROS = (20_000, 50_000, 100_000, 300_000, 1_000_000)
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class Cost:
    models: int
    pods: int
    queries_per_tick: int
    tick_seconds_median: float
    tick_seconds_worst: float
    operator_cpu_seconds_per_tick: float
    prometheus_cpu_seconds_per_tick: float
    prometheus_memory_mib: float


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def scrape_config(models: int, pages_port: int) -> Mapping[str, object]:
    groups = [
        {
            "targets": [f"127.0.0.1:{pages_port}"],
            "labels": {
                "__metrics_path__": f"/pods/{model * PODS_PER_MODEL + pod}",
                "instance": f"10.{model // 250}.{model % 250}.{pod}:8501",
                "namespace": f"team-{model % 20}",
                "tfserving_dev_servedmodel": f"model-{model}",
                "tfserving_dev_pool": "gpu",
                "pod": f"model-{model}-gpu-6d4cf56db6-{pod:05d}",
            },
        }
        for model in range(models)
        for pod in range(PODS_PER_MODEL)
    ]
    return {
        "global": {"scrape_interval": f"{SCRAPE_SECONDS}s"},
        "scrape_configs": [{"job_name": "pods", "static_configs": groups}],
    }


@contextmanager
def prometheus(models: int, pages_port: int, directory: Path) -> Iterator[tuple[str, int]]:
    """Yield its address and process id."""
    config = directory / "prometheus.yaml"
    config.write_text(yaml.safe_dump(scrape_config(models, pages_port)))
    program = binaries.build(binaries.PROMETHEUS_PARTS).prometheus / "prometheus"
    port = free_port()
    command = [
        str(program),
        f"--config.file={config}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    with subprocess.Popen(command) as process:
        try:
            yield f"http://127.0.0.1:{port}", process.pid
        finally:
            process.kill()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def memory_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def wishes(models: int) -> Mapping[ModelKey, SignalWish]:
    return {
        ModelKey(f"team-{model % 20}", f"model-{model}"): SignalWish(
            edge=snap_objective(OBJECTIVES_MICROS[model % len(OBJECTIVES_MICROS)]), pools={"gpu": PODS_PER_MODEL}
        )
        for model in range(models)
    }


async def read(client: PrometheusClient, models: int) -> FleetReading:
    return await client.read_fleet(wishes(models), now=datetime.now(UTC))


async def wait_until_measured(client: PrometheusClient, models: int) -> None:
    deadline = time.monotonic() + 8 * SCRAPE_SECONDS
    while True:
        states = {signals.state for signals in (await read(client, models)).signals.values()}
        if states == {SignalState.MEASURED}:
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"Prometheus does not measure {models} models: {states}")
        await asyncio.sleep(1)


async def measure(models: int, ticks: int, url: str, pid: int) -> Cost:
    endpoint = PrometheusAddresses(default=PrometheusEndpoint(url=url))
    client = PrometheusClient(endpoint, PrometheusOptions(rules=ReadingRules(), timeout_seconds=10))
    try:
        await wait_until_measured(client, models)
        before, began = cpu_seconds(pid), time.monotonic()
        await asyncio.sleep(2 * SCRAPE_SECONDS)
        scraping_per_second = (cpu_seconds(pid) - before) / (time.monotonic() - began)
        before, began, own = cpu_seconds(pid), time.monotonic(), time.process_time()
        readings = []
        for number in range(ticks):
            await asyncio.sleep(max(0.0, began + number * TICK_SECONDS - time.monotonic()))
            readings.append(await read(client, models))
        spent = cpu_seconds(pid) - before - scraping_per_second * (time.monotonic() - began)
        return Cost(
            models=models,
            pods=models * PODS_PER_MODEL,
            queries_per_tick=max(reading.queries for reading in readings),
            tick_seconds_median=statistics.median(reading.seconds for reading in readings),
            tick_seconds_worst=max(reading.seconds for reading in readings),
            operator_cpu_seconds_per_tick=(time.process_time() - own) / ticks,
            prometheus_cpu_seconds_per_tick=spent / ticks,
            prometheus_memory_mib=memory_mib(pid),
        )
    finally:
        await client.close()


def table(costs: list[Cost]) -> str:
    rows = [
        "| ServedModels | pods | queries a tick | a tick, median | worst | CPU of the operator | CPU of Prometheus |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for cost in costs:
        seconds = (
            cost.tick_seconds_median,
            cost.tick_seconds_worst,
            cost.operator_cpu_seconds_per_tick,
            cost.prometheus_cpu_seconds_per_tick,
        )
        numbers = " | ".join(f"{second * 1000:.0f} ms" for second in seconds)
        rows.append(f"| {cost.models} | {cost.pods} | {cost.queries_per_tick} | {numbers} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, nargs="+", default=[1, 100, 1000])
    parser.add_argument("--ticks", type=int, default=20)
    parser.add_argument("--json", type=Path, help="write the numbers here, too")
    options = parser.parse_args()
    port = free_port()
    pages = multiprocessing.get_context("spawn").Process(target=serve, args=(port,), daemon=True)
    pages.start()
    costs = []
    for models in options.models:
        with tempfile.TemporaryDirectory() as directory, prometheus(models, port, Path(directory)) as (url, pid):
            costs.append(asyncio.run(measure(models, options.ticks, url, pid)))
            print(costs[-1], file=sys.stderr)
    pages.kill()
    print(table(costs))
    if options.json:
        options.json.write_text(json.dumps([asdict(cost) for cost in costs], indent=2) + "\n")


if __name__ == "__main__":
    main()
