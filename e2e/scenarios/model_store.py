"""A web server on the host that model sources point at; it can be told to misbehave."""

from __future__ import annotations

import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CORRUPT = "file is too short to be an sstable"
"""What TensorFlow says of a model whose index of variables is an empty file."""


class ModelStore:
    """Archives of models under ``url``."""

    def __init__(self, directory: Path, url: str) -> None:
        """Use ``model_store`` instead."""
        self.directory = directory
        self.url = url
        self.token: str | None = None
        """When set, requests without this bearer token are refused."""

    def archive(self, name: str, source: Path) -> str:
        """Pack the version directories under ``source``; return the archive's URL."""
        with tarfile.open(self.directory / f"{name}.tar.gz", "w:gz") as archive:
            for version in sorted(source.iterdir()):
                archive.add(version, arcname=version.name)
        return f"{self.url}/{name}.tar.gz"

    def is_allowed(self, authorization: str | None) -> bool:
        """Whether a request with this header may be answered."""
        return self.token is None or authorization == f"Bearer {self.token}"


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, *args: object, store: ModelStore) -> None:
        self._store = store
        super().__init__(*args, directory=str(store.directory))  # type: ignore[arg-type]  # the base class's own

    def do_GET(self) -> None:
        if self._store.is_allowed(self.headers.get("Authorization")):
            super().do_GET()
        else:
            self.send_error(HTTPStatus.UNAUTHORIZED)

    def do_HEAD(self) -> None:
        if self._store.is_allowed(self.headers.get("Authorization")):
            super().do_HEAD()
        else:
            self.send_error(HTTPStatus.UNAUTHORIZED)

    def log_message(self, *_: object) -> None:
        """Say nothing: tests print what matters."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that hang up: a fetcher does when a model is too big."""


@contextmanager
def model_store(directory: Path, address: str) -> Iterator[ModelStore]:
    """Serve ``directory`` on ``address`` until the block ends."""
    store = ModelStore(directory, "")
    server = _Server((address, 0), partial(_Handler, store=store))
    store.url = f"http://{address}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()
