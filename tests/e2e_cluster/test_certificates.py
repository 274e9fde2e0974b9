from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import NameOID

from e2e.cluster.certificates import Authority, KeyPair


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create()


def test_a_client_is_the_user_and_groups_of_its_certificate(authority: Authority) -> None:
    certificate = _load(authority.sign_client("alice", ["developers", "admins"]))

    assert [name.value for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["alice"]
    groups = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    assert [name.value for name in groups] == ["developers", "admins"]


def test_a_server_is_trusted_under_all_its_names(authority: Authority) -> None:
    certificate = _load(authority.sign_server(["api", "localhost"], ["10.0.0.1"]))

    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["api", "localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.1"]


def test_what_it_signs_is_signed_by_it_and_not_by_another(authority: Authority) -> None:
    certificate = _load(authority.sign_client("alice"))

    certificate.verify_directly_issued_by(_load(authority.pair))
    with pytest.raises(InvalidSignature):
        certificate.verify_directly_issued_by(_load(Authority.create().pair))


def test_an_authority_that_was_stored_signs_on(authority: Authority) -> None:
    certificate = _load(Authority(authority.pair).sign_client("alice"))

    certificate.verify_directly_issued_by(_load(authority.pair))


def test_a_kubeconfig_holds_all_that_a_client_needs(authority: Authority) -> None:
    config = yaml.safe_load(authority.kubeconfig("https://10.0.0.1:6443", "alice", ["developers"]))

    (cluster,), (user,), (context,) = config["clusters"], config["users"], config["contexts"]
    assert cluster["cluster"]["server"] == "https://10.0.0.1:6443"
    assert base64.b64decode(cluster["cluster"]["certificate-authority-data"]) == authority.pair.certificate
    assert b"PRIVATE KEY" in base64.b64decode(user["user"]["client-key-data"])
    assert context["context"] == {"cluster": cluster["name"], "user": user["name"]}
    assert config["current-context"] == context["name"]


def test_a_key_is_readable_by_its_owner_alone(authority: Authority, tmp_path: Path) -> None:
    _, key = authority.sign_client("alice").write(tmp_path, "alice")

    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def _load(pair: KeyPair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.certificate)
