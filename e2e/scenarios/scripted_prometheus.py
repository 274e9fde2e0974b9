"""A real Prometheus that scrapes pages which a test writes, without a cluster: troubles of scraping in seconds."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import yaml

from e2e.cluster import binaries

LATENCY = ":tensorflow:serving:request_latency_bucket"
EDGES = ("18", "20823", "37481.3", "+Inf")
SCRAPE_SECONDS = 1.0


@dataclass
class ServerPage:
    """What a model server shows. With each scrape it has answered ``per_scrape`` more requests."""

    per_scrape: int = 0
    good_of_ten: int = 10
    """Of ten requests, so many are within 37.4813 ms."""
    answered: int = 0
    status: int = 200
    errors: dict[str, int] = field(default_factory=dict)
    """Failed requests so far, by status code."""
    more: str | Callable[[int], str] = ""
    """Further lines, or what they are at the scrape of this number."""
    probes: int = 0

    def text(self) -> str:
        """Return the page, and count the requests that it will show next time."""
        self.probes += 1
        lines = [f"# TYPE {LATENCY.removesuffix('_bucket')} histogram", *self._buckets("", self.probes, self.probes)]
        if self.answered:
            lines += self._buckets("Predict", self.answered * self.good_of_ten // 10, self.answered)
        lines += [
            f':tensorflow:serving:request_count{{model_name="m",status="{status}"}} {count}'
            for status, count in self.errors.items()
        ]
        self.answered += self.per_scrape
        more = self.more if isinstance(self.more, str) else self.more(self.probes)
        return "\n".join([*lines, more]) + "\n"

    def _buckets(self, api: str, good: int, answered: int) -> list[str]:
        counts = (0, good, good, answered)
        labels = f'model_name="m",API="{api}",entrypoint="GRPC"'
        return [f'{LATENCY}{{{labels},le="{le}"}} {count}' for le, count in zip(EDGES, counts, strict=True)]


@dataclass(frozen=True)
class Target:
    """One pod to scrape; ``labels`` replace those that it would have."""

    pool: str
    pod: str
    page: ServerPage
    job: str = "pods"
    labels: dict[str, str] = field(default_factory=dict)


class ScriptedPrometheus:
    """Use ``scripted_prometheus``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._config = directory / "prometheus.yaml"
        self._pages: dict[str, ServerPage] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self._pages))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._process: subprocess.Popen[bytes] | None = None
        self._port = _free_port()
        self.url = f"http://127.0.0.1:{self._port}"

    def scrape(self, targets: Sequence[Target], **job_settings: Any) -> None:
        """Scrape these from now on, and nothing else; ``job_settings`` go into every job."""
        self._pages.update({f"/{target.pool}/{target.pod}": target.page for target in targets})
        jobs = sorted({target.job for target in targets})
        config = {
            "global": {"scrape_interval": f"{SCRAPE_SECONDS:g}s"},
            "scrape_configs": [
                {
                    "job_name": job,
                    "static_configs": [self._group(target) for target in targets if target.job == job],
                    **job_settings,
                }
                for job in jobs
            ],
        }
        self._config.write_text(yaml.safe_dump(config))
        if self._process is not None:
            httpx.post(f"{self.url}/-/reload", trust_env=False, timeout=10).raise_for_status()

    def start(self, *, keep_targets: bool = True) -> None:
        """Start it, the first time or again, and wait until it answers."""
        if not self._thread.is_alive():
            self._thread.start()
        if not keep_targets or not self._config.exists():
            self._process = None
            self.scrape([])
        program = binaries.build(binaries.PROMETHEUS_PARTS).prometheus / "prometheus"
        command = [str(program), f"--config.file={self._config}", f"--storage.tsdb.path={self._directory / 'data'}"]
        command += [f"--web.listen-address=127.0.0.1:{self._port}", "--web.enable-lifecycle", "--log.level=error"]
        self._process = subprocess.Popen(command)
        _wait(self._is_ready)

    def kill(self) -> None:
        """Kill it; ``start`` brings it back with its data."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=10)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let it hang meanwhile."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End everything."""
        self.kill()
        self._server.shutdown()
        self._server.server_close()

    def _group(self, target: Target) -> dict[str, Any]:
        labels = {
            "__metrics_path__": f"/{target.pool}/{target.pod}",
            "instance": f"{target.pool}/{target.pod}",
            "namespace": "ns",
            "tfserving_dev_servedmodel": "m",
            "tfserving_dev_pool": target.pool,
            "pod": target.pod,
            **target.labels,
        }
        return {"targets": [f"127.0.0.1:{self._server.server_port}"], "labels": labels}

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready", trust_env=False, timeout=2).is_success
        except httpx.TransportError:
            return False


@contextmanager
def scripted_prometheus(directory: Path) -> Iterator[ScriptedPrometheus]:
    """Run one with nothing to scrape until left."""
    prometheus = ScriptedPrometheus(directory)
    prometheus.start()
    try:
        yield prometheus
    finally:
        prometheus.close()


def _handler(pages: dict[str, ServerPage]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages[self.path]
            body = page.text().encode()
            self.send_response(page.status)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    return Handler


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _wait(probe: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not probe():
        if time.monotonic() > deadline:
            raise AssertionError("Prometheus does not answer")
        time.sleep(0.1)
