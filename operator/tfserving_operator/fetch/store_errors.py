"""Translation of what object stores answer into failures that say what to do.

The library puts status, error code and transport trouble into one text; this is the only place that reads it.
Its text holds the URL of the request, so none of it is passed on but the parts picked here.
"""

from __future__ import annotations

import re

from obstore.exceptions import BaseError, PreconditionError, UnknownConfigurationKeyError

from tfserving_operator.fetch.errors import FetchError, TransientError
from tfserving_operator.fetch.source import quoted
from tfserving_operator.fetch.termination import FetchReason

STORE_EXCEPTIONS = (BaseError, OSError, ValueError)
"""What calls into the library raise."""

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([^<]{1,80})</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{1,400})</Message>")
_SYSTEM_MESSAGE = re.compile(r'message: \\?"([^"\\]{1,100})')
_PATH_TROUBLE = "Encountered object with invalid path: "
_ODD_PATH = re.compile(r'Path "(.{1,1024}?)"(?: contained |: Encountered )', re.S)
_METADATA_HOSTS = (
    "169.254.169.254",
    "169.254.170.2",
    "metadata.google.internal",
    "computeMetadata/v1",
    "latest/api/token",
)
_CREDENTIAL_CODES = frozenset(
    {
        "AccessDenied",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
_REGION_CODES = frozenset({"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"})
_CERTIFICATE_SIGNS = ("UnknownIssuer", "invalid peer certificate", "CertificateError", "InvalidCertificate")
_RETRIED_STATUSES = frozenset({408, 409, 425, 429})


def translate_store_error(error: Exception, *, where: str) -> FetchError:
    """Return the failure that ``error``, raised while talking to the store about ``where``, means."""
    text = str(error)
    status_match, code_match = _STATUS.search(text), _CODE.search(text)
    status = int(status_match[1]) if status_match else None
    code = code_match[1] if code_match else ""
    if status is None and isinstance(error, OSError) and error.errno is not None:
        raise error
    if text.startswith(_PATH_TROUBLE):  # First, because a key may hold what the others look for.
        return _odd_name(text, where)
    if any(host in text for host in _METADATA_HOSTS):
        return _no_credentials(where)
    if isinstance(error, PreconditionError):
        return _changed(where)
    if any(sign in text for sign in _CERTIFICATE_SIGNS):
        return _untrusted_certificate(where)
    if status is None:
        return _without_answer(error, text, where)
    return _by_answer(status, code, _answer(text, status, code), where)


def _by_answer(status: int, code: str, answer: str, where: str) -> FetchError:
    if code in _REGION_CODES or 300 <= status < 400:
        return _other_region(f"{where} answered {answer}")
    if code in _CREDENTIAL_CODES or status in (401, 403):
        return FetchError(
            FetchReason.CredentialsRejected,
            f"{where} refused access: {answer}. Check the keys in the credentials secret, that they have not expired, "
            "and that they may list the bucket and read its objects.",
        )
    if status == 404:
        return FetchError(
            FetchReason.ModelPathNotFound,
            f"{where} does not exist: {answer}. Check the bucket's name, the prefix and the endpoint.",
        )
    if status >= 500 or status in _RETRIED_STATUSES:
        return TransientError(f"{where} answered {answer}. The store is in trouble or overloaded; look at its health.")
    return FetchError(FetchReason.InvalidSource, f"{where} answered {answer}. Check the URI and the endpoint.")


def _without_answer(error: Exception, text: str, where: str) -> FetchError:
    if "redirect without LOCATION" in text:
        return _other_region(f"{where} answered with a redirect to nowhere")
    if isinstance(error, UnknownConfigurationKeyError | ValueError) or "Unable to decode" in text:
        return FetchError(
            FetchReason.InvalidSource,
            f"The configuration for {where} is not accepted. Check endpoint, region and secret.",
        )
    return TransientError(
        f"{where} could not be reached: {_transport_trouble(text)}. "
        "Check the endpoint, DNS and network policies of the namespace."
    )


def _transport_trouble(text: str) -> str:
    if "dns error" in text or "failed to lookup address" in text:
        return "its name could not be resolved"
    if "TimedOut" in text or "timed out" in text or "Timeout" in text:
        return "no answer in time"
    if system := _SYSTEM_MESSAGE.search(text):
        return quoted(system[1]).lower()
    return "the connection broke"


def _odd_name(text: str, where: str) -> FetchError:
    path = _ODD_PATH.search(text)
    name = f"the odd name {quoted(path[1])}" if path else "an odd name"
    return FetchError(
        FetchReason.InvalidModel,
        f"{where} holds an object with {name}. Remove it: a name must have no empty part, '..' or control character.",
    )


def _answer(text: str, status: int, code: str) -> str:
    code_part = f" {quoted(code)}" if code else ""
    message = _MESSAGE.search(text)
    return f"{status}{code_part}" + (f" ({quoted(message[1]).rstrip('.')})" if message else "")


def _other_region(answer: str) -> FetchError:
    return FetchError(
        FetchReason.InvalidSource,
        f"{answer}: the bucket is in another region. Set AWS_REGION in the credentials secret.",
    )


def _no_credentials(where: str) -> FetchError:
    return FetchError(
        FetchReason.CredentialsRejected,
        f"No credentials for {where}: there is no key in the credentials secret, and the pod's service account gives "
        "none. Name a secret with keys, or give the service account an identity that may read the bucket.",
    )


def _changed(where: str) -> FetchError:
    return FetchError(
        FetchReason.SourceUnavailable,
        f"An object of {where} was replaced while it was being fetched. "
        "The next try starts anew; publish changes under a new version number.",
    )


def _untrusted_certificate(where: str) -> FetchError:
    return FetchError(
        FetchReason.SourceUnavailable,
        f"The certificate of {where} is not trusted. Put the authority's certificate under ca.crt into the secret.",
    )
