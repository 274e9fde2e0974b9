"""Who we are to a source, and whom we trust."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fetch.archives import make_archive
from tests.fetch.conftest import Bucket, Vouched
from tests.fetch.runs import MODEL_FILES, Fetcher
from tests.fetch.servers import Loopback, Trouble, proxy, serve_files
from tfserving_operator.fetch.credentials import Credentials, read_credentials
from tfserving_operator.fetch.disk import translated_disk_errors
from tfserving_operator.fetch.errors import FetchError
from tfserving_operator.fetch.termination import FetchReason


@pytest.fixture
def checked_signatures(s3_url: str) -> Iterator[None]:
    """Have the S3 server check keys and signatures, as it does not by default."""
    httpx.post(f"{s3_url}/moto-api/reset-auth", content="0").raise_for_status()
    yield
    httpx.post(f"{s3_url}/moto-api/reset-auth", content="inf").raise_for_status()


def test_unknown_access_key_is_named_by_the_servers_own_code(
    bucket: Bucket, s3_fetcher: Fetcher, checked_signatures: None
) -> None:
    outcome = s3_fetcher.run(f"s3://{bucket.name}/m")
    outcome.assert_fails(FetchReason.CredentialsRejected, "403 InvalidAccessKeyId", f"s3://{bucket.name}/m")
    assert "test-key-id" not in outcome.termination_message


def test_no_credentials_at_all_says_what_to_give(
    bucket: Bucket, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")
    fetcher.secret = {"AWS_ENDPOINT_URL": bucket.server.url}
    outcome = fetcher.run(f"s3://{bucket.name}/m")
    outcome.assert_fails(FetchReason.CredentialsRejected, "No credentials", "secret", "service account")
    assert bucket.server.seen == []


def test_public_bucket_is_read_without_credentials(bucket: Bucket, fetcher: Fetcher) -> None:
    bucket.client.put_bucket_acl(Bucket=bucket.name, ACL="public-read")
    bucket.put_version("m/1", ACL="public-read")
    fetcher.secret = {"AWS_ENDPOINT_URL": bucket.server.url, "AWS_SKIP_SIGNATURE": "true"}
    assert fetcher.run(f"s3://{bucket.name}/m").success.versions == (1,)
    assert {request.authorization for request in bucket.server.seen} == {None}


def test_environment_serves_where_there_is_no_secret(
    bucket: Bucket, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put_version("m/1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "from-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "from-environment")
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.server.url)
    assert fetcher.run(f"s3://{bucket.name}/m").success.versions == (1,)
    assert "Credential=from-environment/" in str(bucket.server.seen[0].authorization)


def test_bucket_in_another_region_asks_for_the_region(bucket: Bucket, s3_fetcher: Fetcher) -> None:
    bucket.server.troubles = [Trouble(status=301)]
    s3_fetcher.run(f"s3://{bucket.name}/m").assert_fails(FetchReason.InvalidSource, "AWS_REGION")


@pytest.mark.parametrize(
    "endpoint", ["minio:9000", "ftp://minio", "http://", "https://h?x=1", "http://h:port", "http://a..b"]
)
def test_endpoint_that_is_no_url_is_refused(s3_fetcher: Fetcher, endpoint: str) -> None:
    s3_fetcher.secret["AWS_ENDPOINT_URL"] = endpoint
    s3_fetcher.run("s3://bucket/m").assert_fails(FetchReason.InvalidSource, "AWS_ENDPOINT_URL")


def test_private_authority_of_an_object_store_is_trusted_once_given(
    bucket: Bucket, s3_fetcher: Fetcher, authority: Vouched, s3_url: str
) -> None:
    bucket.put_version("m/1")
    with proxy(s3_url, tls=authority.server) as server:
        s3_fetcher.secret["AWS_ENDPOINT_URL"] = server.url
        s3_fetcher.run(f"s3://{bucket.name}/m").assert_fails(FetchReason.SourceUnavailable, "not trusted", "ca.crt")
        s3_fetcher.secret["ca.crt"] = authority.pem
        assert s3_fetcher.run(f"s3://{bucket.name}/m").success.versions == (1,)


def test_private_authority_of_a_web_server_is_trusted_once_given(
    fetcher: Fetcher, authority: Vouched, tmp_path: Path
) -> None:
    make_archive(tmp_path / "www" / "m.zip", MODEL_FILES)
    with serve_files(tmp_path / "www", tls=authority.server) as server:
        fetcher.run(f"{server.url}/m.zip").assert_fails(FetchReason.SourceUnavailable, "not trusted", "ca.crt")
        fetcher.secret = {"ca.crt": authority.pem}
        assert fetcher.run(f"{server.url}/m.zip").success.versions == (1,)


@pytest.mark.parametrize("pem", ["junk", "-----BEGIN CERTIFICATE-----\nnope\n-----END CERTIFICATE-----"])
@pytest.mark.parametrize("uri", ["s3://bucket/m", "https://127.0.0.1:1/m.zip"])
def test_authority_that_is_no_certificate_is_refused(s3_fetcher: Fetcher, uri: str, pem: str) -> None:
    s3_fetcher.secret["ca.crt"] = pem
    s3_fetcher.run(uri).assert_fails(FetchReason.InvalidSource, "ca.crt is not a PEM certificate")


@pytest.mark.parametrize(
    ("uri", "key"),
    [
        ("s3://bucket/m", "AWS_ACCESS_KEY_ID"),
        ("s3://bucket/m", "AWS_SECRET_ACCESS_KEY"),
        ("s3://bucket/m", "AWS_SESSION_TOKEN"),
        ("s3://bucket/m", "AWS_REGION"),
        ("s3://bucket/m", "AWS_ENDPOINT_URL"),
        ("https://127.0.0.1:1/m.zip", "token"),
    ],
)
def test_control_character_inside_a_value_names_its_key(s3_fetcher: Fetcher, uri: str, key: str) -> None:
    s3_fetcher.secret[key] = "http://begin\nhidden"
    outcome = s3_fetcher.run(uri)
    outcome.assert_fails(FetchReason.InvalidSource, f"'{key}' in the credentials secret", "line break")
    assert "hidden" not in outcome.termination_message


def test_token_does_not_follow_a_redirect_to_another_host(
    web: tuple[Loopback, Path], fetcher: Fetcher, tmp_path: Path
) -> None:
    server, root = web
    make_archive(tmp_path / "elsewhere" / "m.zip", MODEL_FILES)
    fetcher.secret = {"token": "s3cret"}
    with serve_files(tmp_path / "elsewhere") as other:
        (root / "m.redirect").write_text(f"{other.url}/m.zip")
        assert fetcher.run(f"{server.url}/m.redirect").success.versions == (1,)
        assert server.seen[0].authorization == "Bearer s3cret"
        assert other.seen[0].authorization is None


def test_endless_redirects_are_an_invalid_source(web: tuple[Loopback, Path], fetcher: Fetcher) -> None:
    server, root = web
    (root / "m.redirect").write_text(f"{server.url}/m.redirect")
    fetcher.run(f"{server.url}/m.redirect").assert_fails(FetchReason.InvalidSource, "redirects")


def test_mounted_secret_is_read_as_the_kubelet_lays_it_out(tmp_path: Path) -> None:
    data = tmp_path / "..2026_01_01"
    data.mkdir()
    (data / "token").write_text("value\n")
    (tmp_path / "..data").symlink_to(data.name)
    (tmp_path / "token").symlink_to("..data/token")
    assert read_credentials(tmp_path).values == {"token": "value"}


def test_secret_that_is_not_there_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="cannot be read") as caught:
        read_credentials(tmp_path / "none")
    assert caught.value.reason is FetchReason.InvalidSource


def test_secret_values_are_taken_out_of_any_text() -> None:
    credentials = Credentials({"token": "hunter22", "AWS_REGION": "us-east-1"})
    assert credentials.redacted("hunter22 in us-east-1") == "*** in us-east-1"
    assert "hunter22" not in repr(credentials)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, FetchReason.InsufficientDiskSpace),
        (errno.EDQUOT, FetchReason.InsufficientDiskSpace),
        (errno.EACCES, FetchReason.DestinationNotWritable),
    ],
)
def test_errors_of_the_volume_get_their_reason(tmp_path: Path, number: int, reason: FetchReason) -> None:
    with pytest.raises(FetchError) as caught, translated_disk_errors(tmp_path, what="resnet"):
        raise OSError(number, "as the kernel says")
    assert caught.value.reason is reason
