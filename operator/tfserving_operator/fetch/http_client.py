"""The HTTP client for archives, and the translation of what web servers answer.

Raises only ``FetchError``. A redirect to another host gets no credentials: aiohttp drops them.
"""

from __future__ import annotations

import socket
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

import aiohttp

from tfserving_operator.fetch.credentials import Credentials
from tfserving_operator.fetch.errors import FetchError, TransientError
from tfserving_operator.fetch.termination import FetchReason

_CONNECT_TIMEOUT_SECONDS = 10
_STALL_TIMEOUT_SECONDS = 30
_RETRIED_STATUSES = frozenset({408, 409, 425, 429})


def open_session(credentials: Credentials) -> aiohttp.ClientSession:
    """Return a client that trusts the secret's authorities as well as the system's."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=_tls_context(credentials)),
        headers={"User-Agent": "tfserving-operator-fetch", "Accept-Encoding": "identity"},
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_TIMEOUT_SECONDS, sock_read=_STALL_TIMEOUT_SECONDS
        ),
        auto_decompress=False,
        trust_env=True,
    )


def authorization(credentials: Credentials) -> dict[str, str]:
    """Return the header for the secret's token, or its user and password; empty without either."""
    credentials.require_single_lines(["token"])
    if token := credentials.get("token"):
        return {"Authorization": f"Bearer {token.strip()}"}
    if username := credentials.get("username"):
        pair = f"{username}:{credentials.get('password') or ''}"
        return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}
    return {}


@asynccontextmanager
async def requested(
    session: aiohttp.ClientSession, url: str, headers: dict[str, str], *, where: str
) -> AsyncIterator[aiohttp.ClientResponse]:
    """Give the answer to a GET of ``url``; status 200, 206, 304 and 416 are the caller's to handle."""
    with_transport_errors = (aiohttp.ClientError, TimeoutError, OSError)
    try:
        async with session.get(url, headers=headers, max_redirects=5) as response:
            if response.status not in (200, 206, 304, 416):
                raise _translate_status(response.status, where)
            yield response
    except with_transport_errors as error:
        raise _translate_transport_error(error, where) from error


def _translate_status(status: int, where: str) -> FetchError:
    phrase = HTTPStatus(status).phrase if status in HTTPStatus.__members__.values() else ""
    answer = f"{where} answered {status} {phrase}".rstrip()
    if status in (401, 403, 407):
        return FetchError(
            FetchReason.CredentialsRejected,
            f"{answer}. Check 'token', or 'username' and 'password', in the credentials secret; "
            "a signed URL may have expired.",
        )
    if status in (404, 410):
        return FetchError(FetchReason.ModelPathNotFound, f"{answer}. Check the URL.")
    if status >= 500 or status in _RETRIED_STATUSES:
        return TransientError(f"{answer}. The server is in trouble or overloaded; look at its health.")
    return FetchError(FetchReason.InvalidSource, f"{answer}. Check that the URL leads to an archive.")


def _translate_transport_error(error: Exception, where: str) -> FetchError:
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLCertVerificationError):
        return FetchError(
            FetchReason.SourceUnavailable,
            f"The certificate of {where} is not trusted. Put the authority's certificate under ca.crt into the secret.",
        )
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlRedirectClientError | aiohttp.TooManyRedirects):
        return FetchError(FetchReason.InvalidSource, f"{where} is no usable URL or redirects without end. Check it.")
    if isinstance(error, OSError) and not isinstance(error, aiohttp.ClientError | TimeoutError | ConnectionError):
        raise error
    return TransientError(
        f"{where} could not be reached: {_transport_trouble(error)}. "
        "Check the host, DNS and network policies of the namespace."
    )


def _transport_trouble(error: Exception) -> str:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(error, aiohttp.ClientConnectorDNSError) or isinstance(cause, socket.gaierror):
        return "its name could not be resolved"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(cause, ConnectionRefusedError):
        return "connection refused"
    return "the connection broke"


def _tls_context(credentials: Credentials) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if authorities := credentials.ca_certificates():
        context.load_verify_locations(cadata=authorities)
    return context
