"""A steady, bounded stream of predictions, every one of them counted."""

from __future__ import annotations

import threading
import time

import httpx

from e2e.cluster import Cluster

_INTERVAL_SECONDS = 0.05


class Traffic:
    """Sends one request after the other from a thread of its own inside the cluster's network.

    Each request opens a connection of its own, as the kube-proxy balances connections: so each one asks anew which
    replica is there.
    """

    def __init__(self, cluster: Cluster, url: str) -> None:
        """Prepare to send to ``url``."""
        self._cluster = cluster
        self._url = url
        self._answered = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self.sent = 0
        self.failures: list[str] = []

    def start(self) -> None:
        """Begin, and return when the first request was answered.

        The nodes' proxies learn of a new endpoint a moment after it is ready, so earlier ones do not count.
        """
        self._thread.start()
        if not self._answered.wait(timeout=15):
            raise AssertionError(f"{self._url} does not answer: {self.failures[-1:]}")

    def stop(self) -> None:
        """End, after the request that is under way."""
        self._stopped.set()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        with self._cluster.network():
            while not self._stopped.is_set():
                self._send()
                self._stopped.wait(_INTERVAL_SECONDS)

    def _send(self) -> None:
        started = time.monotonic()
        try:
            answer = httpx.post(self._url, json={"instances": [1.0, 2.0]}, timeout=10, trust_env=False)
            failure = "" if answer.status_code == 200 else f"{answer.status_code} {answer.text[:200]}"
        except httpx.HTTPError as error:
            failure = f"{error!r} after {time.monotonic() - started:.2f} s"
        if not failure and not self._answered.is_set():
            self.failures.clear()
            self._answered.set()
        self.sent += self._answered.is_set()
        if failure:
            self.failures.append(f"{time.strftime('%X')} {failure}")
