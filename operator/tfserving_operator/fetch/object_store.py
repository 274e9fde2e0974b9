"""Buckets: S3, what speaks S3, and Google Cloud Storage."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
from obstore.store import GCSStore, S3Store

from tfserving_operator.fetch.credentials import Credentials
from tfserving_operator.fetch.errors import FetchError, TransientError
from tfserving_operator.fetch.source import ObjectStoreSource, is_host_name, quoted
from tfserving_operator.fetch.store_errors import STORE_EXCEPTIONS, translate_store_error
from tfserving_operator.fetch.termination import FetchReason

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

_CONNECT_TIMEOUT_SECONDS = 10
_STALL_TIMEOUT_SECONDS = 30
_SIGNATURE_LIFE = timedelta(minutes=5)
_CHUNK_BYTES = 1 << 20
_S3_KEYS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
)
_PLAIN_MD5 = re.compile(r'"?([0-9a-f]{32})"?\Z')

# Retries are ours (retrying.py), so that they are logged and cover broken bodies as well.
_NO_RETRIES: RetryConfig = {"max_retries": 0, "retry_timeout": timedelta(seconds=_CONNECT_TIMEOUT_SECONDS)}


@dataclass(frozen=True)
class RemoteFile:
    """One object of a version."""

    key: str
    path: str
    """Relative to the version's directory."""
    size_bytes: int
    etag: str | None

    @property
    def md5(self) -> str | None:
        """The MD5 of the content, if the ETag has the form of one."""
        match = _PLAIN_MD5.match(self.etag or "")
        return match[1] if match else None


class ModelBucket:
    """A model's prefix in a bucket; raises only ``FetchError``."""

    def __init__(self, source: ObjectStoreSource, credentials: Credentials, *, timeout_seconds: float) -> None:
        """Make a client; nothing is sent yet."""
        self.source = source
        self.credentials = credentials
        self._endpoint = credentials.get_or_environment("AWS_ENDPOINT_URL") if source.scheme == "s3" else None
        try:
            self._store = _open_store(source, credentials, self._endpoint, timeout_seconds)
        except STORE_EXCEPTIONS as error:
            raise translate_store_error(error, where=self.where) from error

    @property
    def where(self) -> str:
        """The source and the endpoint, for messages."""
        return f"{self.source.display}{f' at {_without_userinfo(self._endpoint)}' if self._endpoint else ''}"

    async def list_version_names(self) -> list[str]:
        """Return the names of the directories below the prefix; raise ``ModelPathNotFound`` if there is nothing."""
        try:
            children = await obstore.list_with_delimiter_async(self._store, prefix=self.source.prefix or None)
        except STORE_EXCEPTIONS as error:
            raise translate_store_error(error, where=self.where) from error
        names = [path.rsplit("/", 1)[-1] for path in children["common_prefixes"]]
        files = [entry["path"].rsplit("/", 1)[-1] for entry in children["objects"]]
        if not names and not files:
            raise FetchError(
                FetchReason.ModelPathNotFound,
                f"There is nothing at {self.where}. Check the bucket and the prefix; "
                "a SavedModel belongs into a numbered directory below it, such as 1/.",
            )
        if any(name in ("saved_model.pb", "saved_model.pbtxt") for name in files):
            raise FetchError(
                FetchReason.VersionNotFound,
                f"{self.where} is itself a SavedModel, not a directory of versions. "
                "Move it into a numbered directory, such as 1/, and name the directory above in the URI.",
            )
        return names

    async def list_files(self, version_name: str) -> list[RemoteFile]:
        """Return the objects of one version, in the order of their keys."""
        root = self.source.key(version_name)
        files: list[RemoteFile] = []
        try:
            async for chunk in obstore.list(self._store, prefix=root, chunk_size=1000):
                for entry in chunk:
                    path = entry["path"].removeprefix(root).lstrip("/")
                    if path:
                        files.append(RemoteFile(entry["path"], path, entry["size"], entry["e_tag"]))
        except STORE_EXCEPTIONS as error:
            raise translate_store_error(error, where=self.where) from error
        return files

    async def read_range(self, file: RemoteFile, start: int, end: int) -> AsyncIterator[bytes]:
        """Yield the bytes of ``file`` from ``start`` up to ``end``; fail when the object is another by now."""
        options: obstore.GetOptions = {"range": (start, end)}
        if file.etag:
            options["if_match"] = file.etag
        received = 0
        try:
            answer = await obstore.get_async(self._store, file.key, options=options)
            async for chunk in answer.stream(min_chunk_size=_CHUNK_BYTES):
                received += len(chunk)
                yield chunk
        except STORE_EXCEPTIONS as error:
            raise translate_store_error(error, where=f"{self.where} ({quoted(file.path)})") from error
        if received != end - start:
            raise TransientError(f"{self.where} ended {quoted(file.path)} {end - start - received} bytes early.")

    async def is_directory_marker(self, file: RemoteFile) -> bool:
        """Return whether an empty object is another tool's marker of a directory.

        The library lists ``assets/`` as ``assets``, of which nothing can then be read.
        """
        try:
            await obstore.head_async(self._store, file.key)
        except FileNotFoundError:
            return True
        except STORE_EXCEPTIONS as error:
            raise translate_store_error(error, where=self.where) from error
        return False

    async def sign_head(self, file: RemoteFile) -> str | None:
        """Return a URL that asks for the headers of ``file``, or None when these credentials cannot sign."""
        try:
            return await obstore.sign_async(self._store, "HEAD", file.key, _SIGNATURE_LIFE)
        except STORE_EXCEPTIONS:
            return None


def _open_store(
    source: ObjectStoreSource, credentials: Credentials, endpoint: str | None, timeout_seconds: float
) -> S3Store | GCSStore:
    client: ClientConfig = {
        "connect_timeout": timedelta(seconds=_CONNECT_TIMEOUT_SECONDS),
        "read_timeout": timedelta(seconds=_STALL_TIMEOUT_SECONDS),
        "timeout": timedelta(seconds=timeout_seconds),
        "user_agent": "tfserving-operator-fetch",
    }
    if authorities := credentials.ca_certificates():
        client["root_certificate"] = authorities
    if source.scheme == "gs":
        return _open_google(source, credentials, client)
    credentials.require_single_lines(_S3_KEYS)
    config: S3Config = {}
    if endpoint:
        config["endpoint"] = _checked_endpoint(endpoint)
        config["virtual_hosted_style_request"] = False
        client["allow_http"] = endpoint.startswith("http://")
    if access_key_id := credentials.get("AWS_ACCESS_KEY_ID"):
        config["access_key_id"] = access_key_id
    if secret_access_key := credentials.get("AWS_SECRET_ACCESS_KEY"):
        config["secret_access_key"] = secret_access_key
    if session_token := credentials.get("AWS_SESSION_TOKEN"):
        config["session_token"] = session_token
    if region := credentials.get_or_environment("AWS_REGION") or credentials.get_or_environment("AWS_DEFAULT_REGION"):
        config["region"] = region
    if credentials.flag("AWS_SKIP_SIGNATURE"):
        config["skip_signature"] = True
    config["bucket"] = source.bucket
    return S3Store(client_options=client, retry_config=_NO_RETRIES, **config)


def _open_google(source: ObjectStoreSource, credentials: Credentials, client: ClientConfig) -> GCSStore:
    if credentials.flag("GOOGLE_SKIP_SIGNATURE"):
        return GCSStore(source.bucket, client_options=client, retry_config=_NO_RETRIES, skip_signature=True)
    account = credentials.google_service_account()
    if account is None:
        return GCSStore(source.bucket, client_options=client, retry_config=_NO_RETRIES)
    client["allow_http"] = '"http://' in account  # Emulators name themselves in the key file.
    return GCSStore(source.bucket, client_options=client, retry_config=_NO_RETRIES, service_account_key=account)


def _checked_endpoint(endpoint: str) -> str:
    try:
        parts = urlsplit(endpoint)
        has_host = bool(parts.hostname) and is_host_name(parts.hostname or "")
        valid = parts.scheme in ("http", "https") and has_host and not parts.query
        _ = parts.port
    except ValueError:
        valid = False
    if not valid:
        raise FetchError(
            FetchReason.InvalidSource,
            "AWS_ENDPOINT_URL is not a URL: write it as https://host or http://host:port, without a query.",
        )
    return endpoint.rstrip("/")


def _without_userinfo(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
