"""What a fetch is asked to do, and what it did."""

from __future__ import annotations

from dataclasses import dataclass

from tfserving_operator.fetch.credentials import Credentials
from tfserving_operator.fetch.disk import Volume
from tfserving_operator.fetch.source import ModelSource
from tfserving_operator.fetch.versions import VersionPolicy


@dataclass(frozen=True)
class FetchRequest:
    """What to fetch, from where, to where, and how long to try."""

    model: str
    source: ModelSource
    policy: VersionPolicy
    destination: Volume
    credentials: Credentials
    concurrency: int
    """Requests at once."""
    timeout_seconds: float
    """For everything together."""
    attempts: int
    """Tries of one request before giving up."""


@dataclass(frozen=True)
class Fetched:
    """The versions that are in place now, and how many bytes came over the network for them."""

    versions: tuple[int, ...]
    bytes_fetched: int
