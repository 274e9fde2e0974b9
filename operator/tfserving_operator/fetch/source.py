"""Where a model comes from: parsing of ``--uri``, and how it is shown in messages."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult, parse_qs, parse_qsl, quote, unquote, urlencode, urlsplit

from tfserving_operator.fetch.errors import FetchError
from tfserving_operator.fetch.termination import FetchReason

VERSION_PLACEHOLDER = "{version}"
_SHA256 = re.compile(r"[0-9a-fA-F]{64}\Z")
# Query fields of signed URLs of S3, Google, Azure and CDNs, which change with each signing.
_SIGNATURE_FIELD = re.compile(
    r"(x-amz-|x-goog-|sig|expires|policy|key-pair-id|awsaccesskeyid|googleaccessid|token|s[a-z]\Z)", re.I
)


@dataclass(frozen=True)
class ObjectStoreSource:
    """A prefix of a bucket whose numeric children are the versions."""

    scheme: Literal["s3", "gs"]
    bucket: str
    prefix: str
    """Without slashes at its ends; empty for the whole bucket."""

    @property
    def display(self) -> str:
        """The URI as messages show it."""
        return f"{self.scheme}://{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def identity(self) -> str:
        """What tells this source from another: equal for equal content."""
        return _digest(self.display)

    def key(self, *names: str) -> str:
        """Return the object key of ``names`` below the prefix."""
        return "/".join(name for name in (self.prefix, *names) if name)


@dataclass(frozen=True)
class ArchiveSource:
    """The URL of an archive, or one with ``{version}`` in it for an archive a version."""

    url: str
    """With its query, without user, password and fragment. May hold a signature: never show it."""
    display: str
    """The URL as messages show it: no user, password or query."""
    sha256: str | None

    @property
    def has_placeholder(self) -> bool:
        """Whether the URL names one archive for each version."""
        return VERSION_PLACEHOLDER in self.url

    @property
    def identity(self) -> str:
        """What tells this source from another; a renewed signature does not make another source."""
        parts = urlsplit(self.url)
        fields = [(name, value) for name, value in parse_qsl(parts.query) if not _SIGNATURE_FIELD.match(name)]
        return _digest(f"{self.display}?{urlencode(sorted(fields))}#{self.sha256 or ''}")

    def for_version(self, version: int) -> ArchiveSource:
        """Return the source of one version's archive."""
        return ArchiveSource(
            self.url.replace(VERSION_PLACEHOLDER, str(version)),
            self.display.replace(VERSION_PLACEHOLDER, str(version)),
            self.sha256,
        )


ModelSource = ObjectStoreSource | ArchiveSource


def parse_source(uri: str) -> ModelSource:
    """Return what ``uri`` names, or raise ``InvalidSource`` with what it should look like."""
    try:
        parts = urlsplit(uri.strip())
        _ = parts.port
    except ValueError:
        # The parser's message quotes the URI, where a password may stand in the place of a port.
        raise _invalid("The model's URI is not a URL: its host or port cannot be right") from None
    match parts.scheme.lower():
        case "s3":
            return _object_store_source("s3", parts)
        case "gs":
            return _object_store_source("gs", parts)
        case "http" | "https":
            return _archive_source(parts)
        case other:
            raise _invalid(f"The model's URI has the scheme {other[:20]!r}, which cannot be fetched")


def _object_store_source(scheme: Literal["s3", "gs"], parts: SplitResult) -> ObjectStoreSource:
    if parts.username or parts.password:
        raise _invalid(f"The {scheme}:// URI carries a user or a password: put credentials in a secret")
    if parts.query or parts.fragment:
        raise _invalid(f"The {scheme}:// URI has a query or a fragment, which mean nothing there")
    if not parts.netloc:
        raise _invalid(f"The {scheme}:// URI names no bucket")
    names = [name for name in unquote(parts.path).split("/") if name]
    if any(name in (".", "..") for name in names):
        raise _invalid(f"The {scheme}:// URI has a '.' or '..' in its path")
    return ObjectStoreSource(scheme, parts.netloc, "/".join(names))


def _archive_source(parts: SplitResult) -> ArchiveSource:
    if not parts.hostname:
        raise _invalid("The model's URL names no host")
    if not is_host_name(parts.hostname):
        raise _invalid("The model's URL has a host with an empty part, or one of more than 63 characters")
    if parts.username or parts.password:
        raise _invalid("The model's URL carries a user or a password: put 'username' and 'password' in a secret")
    bare = parts._replace(fragment="")
    return ArchiveSource(bare.geturl(), bare._replace(query="").geturl(), _sha256_of(parts.fragment))


def is_host_name(host: str) -> bool:
    """Return whether ``host`` has the form that resolvers take: no empty part, none longer than 63 characters."""
    try:
        return bool(host.encode("idna"))
    except UnicodeError:
        return False


def _sha256_of(fragment: str) -> str | None:
    if not fragment:
        return None
    fields = parse_qs(fragment)
    digest = fields.pop("sha256", [""])[0]
    if fields or not _SHA256.match(digest):
        raise _invalid("The URL's fragment must be #sha256= and 64 hexadecimal digits, or be left out")
    return digest.lower()


def _invalid(message: str) -> FetchError:
    hint = "use s3://bucket/prefix, gs://bucket/prefix, or the https:// URL of a .tar, .tar.gz or .zip archive"
    return FetchError(FetchReason.InvalidSource, f"{message}; {hint}.")


def quoted(name: str) -> str:
    """Return ``name`` with what is not printable or odd percent-encoded, for messages."""
    return quote(name[:200], safe="/ ._-+=@,:()[]~!", errors="replace")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
