"""Runs the fetcher as the kubelet does, and reads what it leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tfserving_operator.fetch.__main__ import main
from tfserving_operator.fetch.termination import (
    FetchFailure,
    FetchReason,
    FetchSuccess,
    parse_termination_message,
)

MODEL_FILES = {
    "saved_model.pb": b"a graph",
    "variables/variables.index": b"an index",
    "variables/variables.data-00000-of-00001": bytes(range(256)) * 64,
}


@dataclass(frozen=True)
class Outcome:
    status: int
    termination_message: str
    model_directory: Path
    log: list[dict[str, object]]

    @property
    def success(self) -> FetchSuccess:
        assert self.status == 0, self.termination_message
        return read_success(self.termination_message)

    @property
    def failure(self) -> FetchFailure:
        failure = parse_termination_message(self.termination_message)
        assert self.status == 1 and failure, (self.status, self.termination_message)
        return failure

    def assert_fails(self, reason: FetchReason, *parts: str) -> FetchFailure:
        failure = self.failure
        assert failure.reason is reason, failure
        for part in parts:
            assert part in failure.message, failure.message
        return failure

    @property
    def versions_on_disk(self) -> list[str]:
        return sorted(p.name for p in self.model_directory.iterdir() if not p.name.startswith("."))

    @property
    def leftovers(self) -> list[str]:
        return sorted(p.name for p in self.model_directory.iterdir() if p.name.startswith((".fetching", ".removing")))


def read_success(line: str) -> FetchSuccess:
    report = json.loads(line)
    return FetchSuccess(tuple(report["versions"]), report["bytes"], report["seconds"], stale=report.get("stale", False))


class Fetcher:
    """Runs fetches of one model into one destination."""

    def __init__(self, work: Path, read_log: Callable[[], str]) -> None:
        self.work = work
        self.destination = work / "models"
        self.destination.mkdir(exist_ok=True)
        self.secret: dict[str, str] = {}
        self._read_log = read_log

    def arguments(self, uri: str, versions: str = "latest:1", **options: object) -> list[str]:
        secret_directory = self.work / "secret"
        secret_directory.mkdir(exist_ok=True)
        for name, value in self.secret.items():
            (secret_directory / name).write_text(value + "\n")
        settings = {
            "model": "resnet",
            "uri": uri,
            "versions": versions,
            "destination": self.destination,
            "termination-message-path": self.work / "termination-log",
            "attempts": 3,
            **({"credentials-dir": secret_directory} if self.secret else {}),
            **{name.replace("_", "-"): value for name, value in options.items()},
        }
        return [f"--{name}={value}" for name, value in settings.items()]

    def run(self, uri: str, versions: str = "latest:1", **options: object) -> Outcome:
        status = main(self.arguments(uri, versions, **options))
        return self.outcome(status, self._read_log())

    def outcome(self, status: int, log: str) -> Outcome:
        message = self.work / "termination-log"
        text = message.read_text() if message.exists() else ""
        return Outcome(status, text, self.destination / "resnet", [json.loads(line) for line in log.splitlines()])


def content_of(version: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(version)): path.read_bytes()
        for path in version.rglob("*")
        if path.is_file() and path.name != ".fetched.json"
    }
