"""Without a Secret the pod's service account is asked for an identity, as clouds give it to pods."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fetch.conftest import Bucket, Vouched
from tests.fetch.runs import Fetcher
from tests.fetch.servers import proxy, serve_documents

LONG_AWAY = "2099-01-01T00:00:00Z"
ASSUMED_ROLE = f"""
<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>
  <AccessKeyId>key-of-the-role</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>
  <SessionToken>session</SessionToken><Expiration>{LONG_AWAY}</Expiration>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>
"""


@pytest.fixture
def token(tmp_path: Path) -> Path:
    """The service account's token, which the cloud's webhook mounts."""
    file = tmp_path / "token"
    file.write_text("token-of-the-service-account")
    return file


@pytest.fixture
def trusted(authority: Vouched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vouched:
    """An authority that the machine trusts: the clouds' identity services are asked over TLS only."""
    bundle = tmp_path / "authorities.pem"
    bundle.write_text(authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    return authority


def test_iam_roles_for_service_accounts_let_in_to_s3(
    bucket: Bucket, trusted: Vouched, fetcher: Fetcher, token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put_version("m/1")
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/reads-models")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.server.url)
    with serve_documents({"/": ASSUMED_ROLE}, tls=trusted.server) as sts:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
        assert fetcher.run(f"s3://{bucket.name}/m").success.versions == (1,)
    assert sts.seen
    assert all("Credential=key-of-the-role/" in str(request.authorization) for request in bucket.server.seen)


def test_eks_pod_identity_lets_in_to_s3(
    bucket: Bucket, fetcher: Fetcher, token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put_version("m/1")
    keys = {"AccessKeyId": "key-of-the-pod", "SecretAccessKey": "secret", "Token": "session", "Expiration": LONG_AWAY}
    with serve_documents({"/v1/credentials": keys}) as agent:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{agent.url}/v1/credentials")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(token))
        monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.server.url)
        assert fetcher.run(f"s3://{bucket.name}/m").success.versions == (1,)
    assert {request.authorization for request in agent.seen} == {"token-of-the-service-account"}
    assert all("Credential=key-of-the-pod/" in str(request.authorization) for request in bucket.server.seen)


def test_gke_workload_identity_lets_in_to_google(
    bucket: Bucket, trusted: Vouched, fetcher: Fetcher, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put_version("m/1", ACL="public-read")  # the server knows no bearers
    path = "/computeMetadata/v1/instance/service-accounts/default/token"
    given = {"access_token": "token-of-the-pod", "expires_in": 3600, "token_type": "Bearer"}
    with serve_documents({path: given}) as metadata, proxy(s3_url, tls=trusted.server) as google:
        monkeypatch.setenv("GCE_METADATA_HOST", metadata.url.removeprefix("http://"))
        monkeypatch.setenv("GOOGLE_BASE_URL", google.url)
        assert fetcher.run(f"gs://{bucket.name}/m").success.versions == (1,)
    assert {request.authorization for request in google.seen} == {"Bearer token-of-the-pod"}
