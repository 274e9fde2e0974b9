"""What a source needs to let us in: the files of a mounted secret, or nothing but the environment.

No value read here is ever printed: ``Credentials.redacted`` takes them out of any text on its way to a user.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tfserving_operator.fetch.errors import FetchError
from tfserving_operator.fetch.termination import FetchReason

_FILE_LIMIT_BYTES = 1 << 20
_PUBLIC_KEYS = frozenset(
    {
        "AWS_REGION",
        "AWS_ENDPOINT_URL",
        "AWS_CA_BUNDLE",
        "AWS_SKIP_SIGNATURE",
        "GOOGLE_SKIP_SIGNATURE",
        "ca.crt",
        "username",
    }
)
_SHORTEST_SECRET = 4


@dataclass(frozen=True)
class Credentials:
    """The keys of the secret by name; empty when there is no secret."""

    values: Mapping[str, str] = field(default_factory=dict, repr=False)

    def get(self, name: str) -> str | None:
        """Return the secret's value of ``name``, or None when it is absent or empty."""
        return self.values.get(name) or None

    def get_or_environment(self, name: str) -> str | None:
        """Return the secret's value of ``name``, else the environment's."""
        return self.get(name) or os.environ.get(name) or None

    def flag(self, name: str) -> bool:
        """Return whether ``name`` is set to true in the secret or the environment."""
        return (self.get_or_environment(name) or "").lower() in ("1", "true", "yes")

    def require_single_lines(self, names: Iterable[str]) -> None:
        """Raise ``InvalidSource`` if a value of ``names`` could not stand in a header: libraries fail in odd ways."""
        for name in names:
            if any(character < " " or character == "\x7f" for character in self.values.get(name, "")):
                raise FetchError(
                    FetchReason.InvalidSource,
                    f"The value of '{name}' in the credentials secret has a line break or another control character "
                    "inside: write it in one line.",
                )

    def ca_certificates(self) -> str | None:
        """Return the PEM of further authorities to trust, or None; raise ``InvalidSource`` if it is no PEM."""
        name = next((name for name in ("AWS_CA_BUNDLE", "ca.crt") if self.get(name)), None)
        if name is not None:
            _require_pem(self.values[name], what=f"The secret's {name}")
            return self.values[name]
        bundle = os.environ.get("AWS_CA_BUNDLE")
        if not bundle or not Path(bundle).is_file():
            return None
        pem = Path(bundle).read_text(encoding="utf-8")
        _require_pem(pem, what=f"The file {bundle} of AWS_CA_BUNDLE")
        return pem

    def redacted(self, text: str) -> str:
        """Return ``text`` without any secret value."""
        for name, value in self.values.items():
            if name not in _PUBLIC_KEYS and len(value) >= _SHORTEST_SECRET:
                text = text.replace(value, "***")
        return text

    def google_service_account(self) -> str | None:
        """Return the service account's JSON after a look at its form."""
        text = self.get("service-account.json")
        if text is None:
            return None
        try:
            account = json.loads(text)
        except ValueError:
            account = None
        if not isinstance(account, dict) or not {"client_email", "private_key"} <= account.keys():
            raise FetchError(
                FetchReason.CredentialsRejected,
                "The secret's service-account.json is not a Google service account key: it must be the JSON file "
                "with client_email and private_key that Google Cloud makes for a service account.",
            )
        return text


def read_credentials(directory: Path | None) -> Credentials:
    """Return the files of a mounted secret, or empty credentials when ``directory`` is None.

    Names that begin with ``..`` are the kubelet's own. One newline at a value's end, which editors and
    ``kubectl create secret --from-file`` leave there, is not part of the value.
    """
    if directory is None:
        return Credentials()
    try:
        files = [path for path in sorted(directory.iterdir()) if not path.name.startswith("..") and path.is_file()]
        values = {path.name: _read_value(path) for path in files}
    except (OSError, UnicodeDecodeError) as error:
        detail = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise FetchError(
            FetchReason.InvalidSource, f"The credentials secret mounted at {directory} cannot be read: {detail}."
        ) from error
    return Credentials(values)


def _require_pem(text: str, *, what: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        raise FetchError(FetchReason.InvalidSource, f"{what} is not a PEM certificate: replace it.") from error


def _read_value(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.read(_FILE_LIMIT_BYTES).rstrip("\r\n")
