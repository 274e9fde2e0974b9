"""Headers and TLS of an endpoint, from files that may change at any time (Kubernetes rotates mounted Secrets)."""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tfserving_operator.clients.prometheus_endpoint import PrometheusEndpoint

_NOT_IN_A_HEADER: Final = re.compile(r"[\r\n\x00]")
_SHORTEST_SECRET: Final = 4
"""Shorter values are not looked for in messages: they would be found everywhere."""


class CredentialsError(Exception):
    """A file cannot be used; ``str()`` names it and not what is in it."""


@dataclass(frozen=True)
class RequestHeaders:
    """What goes along with each query. ``repr`` shows no value."""

    values: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)

    def without_secrets(self, text: str) -> str:
        """Return ``text`` with every secret in it hidden: a server may repeat what it was sent."""
        for secret in sorted(self.secrets, key=len, reverse=True):
            if len(secret) >= _SHORTEST_SECRET:
                text = text.replace(secret, "***")
        return text


def read_headers(endpoint: PrometheusEndpoint) -> RequestHeaders:
    """Return the headers as the files are now; CredentialsError where one is missing or cannot be a header."""
    values = dict(endpoint.headers)
    secrets: list[str] = []
    for name, path in endpoint.header_files.items():
        values[name] = _read_secret(path)
        secrets.append(values[name])
    if endpoint.bearer_token_file is not None:
        token = _read_secret(endpoint.bearer_token_file)
        values["Authorization"] = f"Bearer {token}"
        secrets.append(token)
    if endpoint.basic_auth is not None:
        user, password = (
            _read_secret(path) for path in (endpoint.basic_auth.username_file, endpoint.basic_auth.password_file)
        )
        encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
        values["Authorization"] = f"Basic {encoded}"
        secrets += [password, encoded]
    return RequestHeaders(values, tuple(secrets))


def _read_secret(path: Path) -> str:
    try:
        text = path.read_text().strip()
    except OSError as error:
        raise CredentialsError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise CredentialsError(f"{path} is not text") from None
    if not text:
        raise CredentialsError(f"{path} is empty")
    if _NOT_IN_A_HEADER.search(text):
        raise CredentialsError(f"{path} has more than one line")
    return text


class TlsFiles:
    """The TLS context of an endpoint, made anew when one of its files changes."""

    def __init__(self, endpoint: PrometheusEndpoint) -> None:
        self._endpoint = endpoint
        files = (endpoint.ca_file, endpoint.client_certificate_file, endpoint.client_key_file)
        self._files = tuple(path for path in files if path is not None)
        self._context: ssl.SSLContext | None = None
        self._made_from: tuple[tuple[int, int], ...] = ()

    def context(self) -> ssl.SSLContext:
        """Return the context for the files as they are now; CredentialsError where they are not usable."""
        try:
            stamps = tuple((stat.st_mtime_ns, stat.st_ino) for stat in (path.stat() for path in self._files))
            if self._context is None or stamps != self._made_from:
                self._context = self._make()
                self._made_from = stamps
        except (OSError, ssl.SSLError) as error:
            names = ", ".join(map(str, self._files))
            raise CredentialsError(f"TLS files {names} cannot be used: {error.strerror or error}") from error
        return self._context

    def _make(self) -> ssl.SSLContext:
        endpoint = self._endpoint
        context = ssl.create_default_context(cafile=endpoint.ca_file)
        if endpoint.insecure_skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if endpoint.client_certificate_file is not None:
            context.load_cert_chain(endpoint.client_certificate_file, endpoint.client_key_file)
        return context
