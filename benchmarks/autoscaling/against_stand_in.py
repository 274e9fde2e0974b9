"""The simulator against real servers: the same constant loads on both, and the share of requests within three edges.

``python -m benchmarks.autoscaling.against_stand_in`` starts the embedded cluster with two replicas of the model server
stand-in, sends Poisson arrivals through their Service, and compares what TensorFlow Serving's buckets say of them (as
Prometheus has it) with what the simulator predicts from the costs alone. It needs root, as the cluster does.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from e2e.cluster import Cluster, ClusterOptions
from e2e.load import LoadGenerator, running_load
from e2e.modelserver.knobs import Behaviour
from e2e.modelserver.model_writer import write_light_model
from e2e.scenarios.fleet import Fleet
from e2e.scenarios.model_store import model_store
from e2e.scenarios.platform import PROJECT, Platform, build_model_server, install_operator
from e2e.scenarios.scrapes import scrape_intervals
from tfserving_operator.api.autoscaling import Autoscaling, AutoscalingMode
from tfserving_operator.api.pool import Pool
from tfserving_operator.autoscaling.buckets import EDGES, BucketEdge
from tfserving_operator.simulation.engine import Moment, replay
from tfserving_operator.simulation.scenario import LoadBalancing, Nodes, Scraping, StartUp
from tfserving_operator.simulation.trace import build_trace
from tfserving_operator.simulation.world import PoolWorld, Replica, World

REPLICAS = 2
SIMULATED_SECONDS = 3600.0
SETTLE_SECONDS = 5.0
_MAX_IN_FLIGHT = 400
_ONE_EXAMPLE = b'{"instances": [1.0]}'
"""The simulator's requests have one example each."""
_REST_THREADS = 256
"""Enough that no request waits for a thread, where TensorFlow Serving does not see it."""


@dataclass(frozen=True)
class Server:
    """How one replica serves, for both sides."""

    name: str
    replica: Replica
    rates: Sequence[float]
    """Requests a second for all replicas."""
    batching: Mapping[str, Any] | None = None
    """``spec.batching``."""

    @property
    def behaviour(self) -> Behaviour:
        """The same for the stand-in."""
        micros = (self.replica.t0_seconds * 1e6, self.replica.t1_seconds * 1e6, self.replica.t2_seconds * 1e6)
        return Behaviour(cost_micros=micros, devices=self.replica.parallel_batches)


SERVERS = (
    Server(
        "one at a time, 40 ms",
        Replica(t0_seconds=0.04, t1_seconds=0.0, t2_seconds=0.0),
        rates=(20, 35, 44),
    ),
    Server(
        "batches of up to 4, 60 ms + 10 ms each",
        Replica(t0_seconds=0.06, t1_seconds=0.01, t2_seconds=0.0, max_batch_size=4, batch_timeout_seconds=0.01),
        rates=(16, 40, 64),
        batching={"maxBatchSize": 4, "batchTimeout": "10ms", "numBatchThreads": 1, "maxEnqueuedBatches": 1000},
    ),
)


@dataclass(frozen=True)
class Comparison:
    """One load at one edge, both ways."""

    server: str
    rate: float
    edge: BucketEdge
    predicted: float
    measured: float
    requests: int

    @property
    def difference(self) -> float:
        """Measured less predicted."""
        return self.measured - self.predicted


class _AsItIs:
    """Sets no replicas."""

    def decide(self, moment: Moment) -> Mapping[str, int]:
        return {}


def predicted_share(server: Server, rate: float, edge: BucketEdge) -> float:
    """Return the share of requests that the simulator has within ``edge``."""
    trace = build_trace(name="constant", time_seconds=[0, SIMULATED_SECONDS], requests_per_second=[rate, rate])
    pool = PoolWorld(
        pool=Pool(name="default"),
        replica=server.replica,
        start_up=StartUp(),
        nodes=Nodes(),
        crashes_per_replica_day=0.0,
        least=REPLICAS,
        most=REPLICAS,
    )
    edge_seconds = edge.micros / 1e6
    world = World(
        autoscaling=Autoscaling(mode=AutoscalingMode.OFF),
        replicas=REPLICAS,
        pools=(pool,),
        objective_seconds=edge_seconds,
        percent=99.0,
        good_edge_seconds=edge_seconds,
        timeout_seconds=60.0,
        most=REPLICAS,
        load_balancing=LoadBalancing.RANDOM,
        scraping=Scraping(),
        requests_per_arrival=1.0,
        drain_seconds=0.0,
        tick_seconds=2.0,
        seed=1,
    )
    return replay(trace, world, _AsItIs(), initial={"default": REPLICAS}).share_within_objective


def measured_shares(
    fleet: Fleet, rate: float, edges: Sequence[BucketEdge], *, seconds: float
) -> dict[BucketEdge, tuple[float, int]]:
    """Send ``rate`` for so long; return share and number of requests by edge, as single scrapes showed them."""
    url = f"http://{fleet.service_address('m')}:8501/v1/models/m:predict"
    generator = LoadGenerator(
        url, requests_per_second=rate, max_in_flight=_MAX_IN_FLIGHT, timeout_seconds=60, body=_ONE_EXAMPLE
    )
    with running_load(fleet.cluster, generator) as load:
        time.sleep(SETTLE_SECONDS)
        since = datetime.now(UTC)
        time.sleep(seconds)
        until = datetime.now(UTC)
        failures = load.failures
    if failures:
        raise RuntimeError(f"requests failed, so the comparison means nothing: {failures[-3:]}")
    found = {}
    for edge in edges:
        window = int(seconds + 4 * SETTLE_SECONDS)
        intervals = scrape_intervals(fleet.cluster.prometheus, fleet.namespace, edge.le, last_seconds=window)
        chosen = [interval for interval in intervals if since <= interval.until <= until]
        requests = sum(interval.requests for interval in chosen)
        found[edge] = (sum(interval.good for interval in chosen) / requests, int(requests))
    return found


def compare(server: Server, fleet: Fleet, *, seconds: float) -> Iterator[Comparison]:
    """Yield what both say of each rate at each edge."""
    service_micros = server.replica.batch_seconds(1) * 1e6
    edges = [edge for edge in EDGES if edge.micros > service_micros][:4]
    for rate in server.rates:
        for edge, (share, requests) in measured_shares(fleet, rate, edges, seconds=seconds).items():
            yield Comparison(server.name, rate, edge, predicted_share(server, rate, edge), share, requests)


@contextmanager
def served(platform: Platform, server: Server, directory: Path) -> Iterator[Fleet]:
    """Run the replicas of ``server``."""
    fleet = platform.new_fleet(server.name)
    (directory / "store").mkdir(parents=True)
    with model_store(directory / "store", platform.cluster.host_address) as store:
        write_light_model(directory / "m", 1, behaviour=server.behaviour)
        uri = store.archive("m", directory / "m")
        spec = {
            "models": [{"name": "m", "source": {"uri": uri}}],
            "replicas": REPLICAS,
            "server": {"threads": {"rest": _REST_THREADS}},
            **({"batching": dict(server.batching)} if server.batching else {}),
        }
        fleet.serve("m", spec)
        fleet.predict("m", "m")
        yield fleet
    fleet.kubectl("delete", "servedmodels", "--all")


def main(arguments: list[str] | None = None) -> int:
    """Compare, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each load")
    parser.add_argument("--only", default="", help="servers whose name has this in it")
    options = parser.parse_args(arguments)
    table = Table("SERVER", "REQUESTS/S", "EDGE", "REQUESTS", "PREDICTED", "MEASURED", "DIFFERENCE", box=None)
    try:
        fill(table, [each for each in SERVERS if options.only in each.name], seconds=options.seconds)
    finally:
        Console(width=120).print(table)
    return 0


def fill(table: Table, servers: Sequence[Server], *, seconds: float) -> None:
    """Add a row for each comparison; those before a failure stay."""
    with (
        tempfile.TemporaryDirectory() as directory,
        Cluster.start(ClusterOptions(nodes=1, prometheus=True, crds=(PROJECT / "crds",))) as cluster,
    ):
        platform = Platform(cluster, build_model_server(cluster))
        install_operator(cluster)
        for number, server in enumerate(servers):
            with served(platform, server, Path(directory) / str(number)) as fleet:
                for row in compare(server, fleet, seconds=seconds):
                    shares = (f"{row.predicted:.1%}", f"{row.measured:.1%}", f"{100 * row.difference:+.1f}")
                    table.add_row(row.server, f"{row.rate:g}", str(row.edge), str(row.requests), *shares)


if __name__ == "__main__":
    raise SystemExit(main())
