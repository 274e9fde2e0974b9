"""Metrics pages of many model servers, from one process: /pods/NUMBER counts requests as time passes."""

from __future__ import annotations

import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tfserving_operator.autoscaling.buckets import EDGES

BUCKETS = (*(edge.le for edge in EDGES), "+Inf")
QUEUE_BUCKETS = (*(f"{100 * 1.2**n:.6g}" for n in range(52)), "+Inf")
BATCH_BUCKETS = (*(str(2**n) for n in range(14)), "+Inf")
LATENCY = ":tensorflow:serving:request_latency"


def histogram(name: str, labels: str, buckets: tuple[str, ...], count: int, *, first_with: int) -> str:
    lines = [
        f'{name}_bucket{{{labels}le="{le}"}} {min(count, count * max(0, position - first_with + 1) // 6)}'
        for position, le in enumerate(buckets)
    ]
    return "\n".join(
        (f"# TYPE {name} histogram", *lines, f"{name}_sum{{{labels}}} 1", f"{name}_count{{{labels}}} {count}")
    )


def page(number: int, *, seconds: float) -> str:
    """One API, the probes' series, two failing statuses and batching: what a busy server shows."""
    count = int(seconds * (50 + number % 50))
    name = f'model_name="model-{number}",'
    parts = [
        histogram(LATENCY, f'{name}API="Predict",entrypoint="GRPC",', BUCKETS, count, first_with=12),
        histogram(LATENCY, f'{name}API="",entrypoint="REST",', BUCKETS, int(seconds // 5), first_with=5),
        "# TYPE :tensorflow:serving:request_count counter",
        *(
            f':tensorflow:serving:request_count{{{name}status="{status}"}} {value}'
            for status, value in (("OK", count), ("DEADLINE_EXCEEDED", count // 100), ("NOT_FOUND", count // 200))
        ),
        histogram(
            ":tensorflow:serving:batching_session:queuing_latency",
            'thread_pool_name="",',
            QUEUE_BUCKETS,
            count,
            first_with=9,
        ),
        histogram(
            ":tensorflow:serving:batching_session:processed_batch_size", "", BATCH_BUCKETS, count // 4, first_with=3
        ),
    ]
    return "\n".join(parts) + "\n"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = page(int(self.path.rsplit("/", 1)[1]), seconds=time.time() % 1e6).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


class _Server(ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A Prometheus that was killed hangs up, which is nobody's fault."""


def serve(port: int) -> None:
    _Server(("127.0.0.1", port), _Handler).serve_forever()
