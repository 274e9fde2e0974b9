"""Which versions of a model to fetch: TensorFlow Serving's reading of names, and the version policy."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from tfserving_operator.fetch.errors import FetchError
from tfserving_operator.fetch.termination import FetchReason

LISTED_VERSIONS_LIMIT = 10
_INT64_MAX = 2**63 - 1
_DECIMAL = re.compile(r"[0-9]+\Z")


@dataclass(frozen=True)
class VersionPolicy:
    """The newest ``latest``, the ``specific`` ones, or all when neither is given."""

    latest: int | None = None
    specific: tuple[int, ...] = ()

    def choose(self, existing: Collection[int], *, where: str) -> tuple[int, ...]:
        """Return the versions to fetch, oldest first, or raise ``VersionNotFound``."""
        missing = sorted(set(self.specific) - set(existing))
        if missing:
            raise FetchError(
                FetchReason.VersionNotFound,
                f"{_plural(missing)} not at {where}. {_describe_existing(existing)} "
                "Publish it there or choose one that exists.",
            )
        if not existing:
            raise FetchError(
                FetchReason.VersionNotFound,
                f"There is no version at {where}: TensorFlow Serving reads only directories named by a number. "
                "Publish the SavedModel in one, such as 1/.",
            )
        if self.specific:
            return tuple(sorted(set(self.specific)))
        ordered = sorted(set(existing))
        return tuple(ordered[-self.latest :] if self.latest else ordered)


def parse_policy(text: str) -> VersionPolicy:
    """Return the policy of ``latest:N``, ``all`` or ``specific:3,4``; raise ``InvalidSource`` otherwise."""
    kind, _, value = text.strip().partition(":")
    numbers = tuple(parse_version_name(part.strip()) for part in value.split(",")) if value else ()
    match kind, numbers:
        case "all", ():
            return VersionPolicy()
        case "latest", (int() as count,) if count > 0:
            return VersionPolicy(latest=count)
        case "specific", (_, *_) if None not in numbers:
            return VersionPolicy(specific=tuple(number for number in numbers if number is not None))
    raise FetchError(
        FetchReason.InvalidSource,
        f"The version policy {text[:60]!r} is none of latest:N (N above 0), all and specific:3,4.",
    )


def parse_version_name(name: str) -> int | None:
    """Return the version that a directory of this name is to TensorFlow Serving, or None."""
    if not _DECIMAL.match(name) or len(name) > 64:
        return None
    number = int(name)
    return number if number <= _INT64_MAX else None


def index_versions(names: Iterable[str]) -> tuple[dict[int, str], list[str]]:
    """Return the directory of each version, and the directories another of the same number hides.

    As in TensorFlow Serving, of ``1`` and ``0001`` the last in order wins.
    """
    names_by_version: dict[int, str] = {}
    hidden: list[str] = []
    for name in sorted(names):
        version = parse_version_name(name)
        if version is None:
            continue
        if version in names_by_version:
            hidden.append(names_by_version[version])
        names_by_version[version] = name
    return names_by_version, hidden


def _plural(missing: list[int]) -> str:
    listed = ", ".join(str(version) for version in missing[:LISTED_VERSIONS_LIMIT])
    return f"Versions {listed} are" if len(missing) > 1 else f"Version {listed} is"


def _describe_existing(existing: Collection[int]) -> str:
    if not existing:
        return "It holds no version at all."
    newest = sorted(existing, reverse=True)[:LISTED_VERSIONS_LIMIT]
    listed = ", ".join(str(version) for version in newest)
    rest = len(existing) - len(newest)
    return f"It holds {listed}{f' and {rest} older' if rest else ''}."
