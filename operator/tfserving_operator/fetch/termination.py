"""What the fetcher tells the operator through the container's termination message.

One line of JSON. The kubelet puts it in the pod's status, where the operator reads it.
Only the standard library is imported here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

FAILURE_LIMIT_BYTES = 1000
"""A failure's line is never longer, so that many models' lines fit a pod's 12 kB of messages."""

REPORTED_VERSIONS_LIMIT = 40
"""A success names at most so many versions, the newest ones."""


class FetchReason(StrEnum):
    """Why a model could not be fetched; CamelCase, fit for a condition's reason."""

    ModelPathNotFound = "ModelPathNotFound"
    """The bucket, prefix or URL does not exist, or holds nothing."""
    VersionNotFound = "VersionNotFound"
    """The model exists, the version asked for does not."""
    CredentialsRejected = "CredentialsRejected"
    """The source refused the credentials, or there were none to show."""
    InsufficientDiskSpace = "InsufficientDiskSpace"
    """The volume is too small for what is to be fetched."""
    ChecksumMismatch = "ChecksumMismatch"
    """What arrived is not what the source or the URI promised."""
    SourceUnavailable = "SourceUnavailable"
    """The source did not answer, or answered with errors, through all tries."""
    InvalidArchive = "InvalidArchive"
    """The archive cannot be read, or holds entries that are not safe to unpack."""
    InvalidModel = "InvalidModel"
    """What was fetched does not look like a model that TensorFlow Serving can load."""
    InvalidSource = "InvalidSource"
    """The URI, the version policy or the credentials' form cannot be right."""
    Timeout = "Timeout"
    """The whole fetch took longer than it may."""
    DestinationNotWritable = "DestinationNotWritable"
    """The volume cannot be written by the user the container runs as."""
    InternalError = "InternalError"
    """A defect in the fetcher; the log has the traceback."""


@dataclass(frozen=True)
class FetchFailure:
    """A fetch that ended without its model, as told to the operator."""

    reason: FetchReason
    message: str
    model: str

    def to_json_line(self) -> str:
        """Return one line of at most ``FAILURE_LIMIT_BYTES`` bytes, the message cut where needed."""
        # Names of files need not be UTF-8, but the kubelet's messages must.
        message = " ".join(self.message.split()).encode(errors="replace").decode()
        while True:
            line = json.dumps({"reason": str(self.reason), "message": message, "model": self.model}, ensure_ascii=False)
            excess = len(line.encode()) - FAILURE_LIMIT_BYTES
            if excess <= 0 or len(message) <= 1:
                return line
            message = message[: max(0, len(message) - math.ceil(excess / 4) - 1)] + "…"


@dataclass(frozen=True)
class FetchSuccess:
    """A fetch that ended with its versions in place, as told to whoever looks at the pod."""

    versions: tuple[int, ...]
    bytes_fetched: int
    seconds: float
    stale: bool = False
    """True when the source did not answer and the versions of an earlier fetch are used."""

    def to_json_line(self) -> str:
        """Return one line; of more than ``REPORTED_VERSIONS_LIMIT`` versions only the newest."""
        report: dict[str, object] = {
            "versions": sorted(self.versions)[-REPORTED_VERSIONS_LIMIT:],
            "bytes": self.bytes_fetched,
            "seconds": round(self.seconds, 3),
        }
        if self.stale:
            report["stale"] = True
        return json.dumps(report)


def parse_termination_message(text: str) -> FetchFailure | None:
    """Return the failure that ``text`` reports, or None when it reports none.

    A reason that this version does not know becomes ``InternalError``: the message still says what happened.
    """
    report = _parse_object(text)
    reason, message, model = report.get("reason"), report.get("message"), report.get("model")
    if not (isinstance(reason, str) and isinstance(message, str) and isinstance(model, str)):
        return None
    known = reason in FetchReason.__members__
    return FetchFailure(FetchReason(reason) if known else FetchReason.InternalError, message, model)


def write_termination_message(path: Path, line: str) -> None:
    """Write ``line`` in place: the kubelet mounts a single file, which cannot be replaced by a rename."""
    path.write_text(line + "\n", encoding="utf-8")


def _parse_object(text: str) -> Mapping[str, object]:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}
