"""An S3 server on the host that pods reach; it checks keys and signatures."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]  # ships no types
import httpx
from moto.server import ThreadedMotoServer

_REGION = "us-east-1"


@dataclass(frozen=True)
class ObjectStore:
    """A bucket, and the keys that may read it."""

    url: str
    bucket: str
    key_id: str
    secret_key: str

    def upload(self, directory: Path, prefix: str) -> str:
        """Put the files below ``directory`` under ``prefix``; return the prefix's URI."""
        client = _client("s3", self.url, self.key_id, self.secret_key)
        for path in (path for path in sorted(directory.rglob("*")) if path.is_file()):
            key = f"{prefix}/{path.relative_to(directory)}"
            client.put_object(Bucket=self.bucket, Key=key, Body=path.read_bytes())
        client.close()
        return f"s3://{self.bucket}/{prefix}"

    def secret_values(self, *, secret_key: str | None = None) -> dict[str, str]:
        """Return what a Secret for this store holds."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": _REGION,
            "AWS_ACCESS_KEY_ID": self.key_id,
            "AWS_SECRET_ACCESS_KEY": secret_key or self.secret_key,
        }


@contextmanager
def object_store(address: str) -> Iterator[ObjectStore]:
    """Serve an empty bucket on ``address`` until the block ends."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address=address, port=0, verbose=False)
    server.start()
    url = f"http://{address}:{server.get_host_and_port()[1]}"
    try:
        key = _make_reader(url)
        client = _client("s3", url, "unchecked", "unchecked")
        client.create_bucket(Bucket="models")
        client.close()
        _check_keys_after(url, "0")
        yield ObjectStore(url, "models", key["AccessKeyId"], key["SecretAccessKey"])
        _check_keys_after(url, "inf")
    finally:
        server.stop()


def _make_reader(url: str) -> dict[str, str]:
    iam = _client("iam", url, "unchecked", "unchecked")
    iam.create_user(UserName="reader")
    statement = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName="reader", PolicyName="models", PolicyDocument=policy)
    key: dict[str, str] = iam.create_access_key(UserName="reader")["AccessKey"]
    iam.close()
    return key


def _check_keys_after(url: str, requests: str) -> None:
    httpx.post(f"{url}/moto-api/reset-auth", content=requests, trust_env=False).raise_for_status()


def _client(service: str, url: str, key_id: str, secret_key: str) -> Any:
    return boto3.client(
        service, endpoint_url=url, aws_access_key_id=key_id, aws_secret_access_key=secret_key, region_name=_REGION
    )
