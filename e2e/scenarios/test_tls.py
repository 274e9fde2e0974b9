"""TLS on the gRPC port, with a certificate from a Secret."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from e2e.scenarios.fleet import Fleet
from e2e.scenarios.grpc_call import available_versions
from e2e.scenarios.model_store import ModelStore

SERVER_NAME = "m.example.com"


def write_certificate(directory: Path) -> tuple[Path, Path]:
    """Write a certificate that is its own authority, and its key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, SERVER_NAME)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(SERVER_NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    certificate_file, key_file = directory / "tls.crt", directory / "tls.key"
    certificate_file.write_bytes(certificate.public_bytes(encoding))
    key_file.write_bytes(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return certificate_file, key_file


def test_grpc_speaks_tls_and_nothing_else(fleet: Fleet, store: ModelStore, tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    fleet.kubectl("create", "secret", "tls", "certificate", f"--cert={certificate}", f"--key={key}")
    models = [{"name": "m", "source": {"uri": f"{store.url}/good.tar.gz"}}]
    fleet.serve("m", {"models": models, "server": {"tls": {"secretName": "certificate"}}})
    address = f"{fleet.service_address('m')}:8500"
    # The node's proxy learns of a new endpoint a moment after it is ready.
    fleet.wait(
        "version 1 over TLS",
        lambda: available_versions(fleet.cluster, address, "m", certificate, SERVER_NAME) == {"versions": [1]},
        timeout_seconds=30,
    )
    assert available_versions(fleet.cluster, address, "m") == {"error": "UNAVAILABLE"}
    assert fleet.predict("m", "m")
    assert fleet.condition("m", "Degraded")["status"] == "False"
