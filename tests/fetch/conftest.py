from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]  # ships no types
import pytest
from moto.server import ThreadedMotoServer

from e2e.cluster.certificates import Authority
from tests.fetch.runs import MODEL_FILES, Fetcher
from tests.fetch.servers import Loopback, proxy, serve_files

_bucket_numbers = count(1)


@dataclass
class Bucket:
    """A fresh bucket on a real S3 server, seen through a proxy that can make trouble."""

    name: str
    server: Loopback
    client: Any

    def put(self, files: Mapping[str, bytes], **options: str) -> None:
        for key, content in files.items():
            self.client.put_object(Bucket=self.name, Key=key, Body=content, **options)

    def put_version(self, directory: str, files: Mapping[str, bytes] = MODEL_FILES, **options: str) -> None:
        self.put({f"{directory}/{path}": content for path, content in files.items()}, **options)


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_url: str) -> Iterator[Bucket]:
    client = boto3.client(
        "s3", endpoint_url=s3_url, aws_access_key_id="key", aws_secret_access_key="secret", region_name="us-east-1"
    )
    name = f"bucket-{next(_bucket_numbers)}"
    client.create_bucket(Bucket=name)
    with proxy(s3_url) as server:
        yield Bucket(name, server, client)
    client.close()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[Loopback, Path]]:
    root = tmp_path / "www"
    root.mkdir()
    with serve_files(root) as server:
        yield server, root


@pytest.fixture(autouse=True)
def no_ambient_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_CA_BUNDLE", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def fetcher(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Fetcher:
    monkeypatch.setattr("tfserving_operator.fetch.retrying._FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("tfserving_operator.fetch.retrying._LONGEST_PAUSE_SECONDS", 0.02)
    return Fetcher(tmp_path, lambda: capsys.readouterr().out)


@pytest.fixture
def s3_fetcher(fetcher: Fetcher, bucket: Bucket) -> Fetcher:
    fetcher.secret = {
        "AWS_ACCESS_KEY_ID": "test-key-id",
        "AWS_SECRET_ACCESS_KEY": "test-secret-key",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": bucket.server.url,
    }
    return fetcher


@dataclass(frozen=True)
class Vouched:
    """An authority nobody knows, and a server context it vouches for."""

    pem: str
    server: ssl.SSLContext


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Vouched:
    authority = Authority.create()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pair = authority.sign_server(["here"], ["127.0.0.1"])
    context.load_cert_chain(*pair.write(tmp_path_factory.mktemp("tls"), "server"))
    return Vouched(authority.pair.certificate.decode(), context)
