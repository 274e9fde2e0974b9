"""Finds versions on the file system: which directories a model's policy asks for."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from e2e.modelserver.file_access import is_there
from e2e.modelserver.statuses import Code, Status, StatusError
from e2e.modelserver.wire import config_pb2 as pb

log = logging.getLogger(__name__)

VERSION_NUMBER = re.compile(r"\s*[+-]?[0-9]+\s*\Z")
INT64_LIMIT = 1 << 63
LINKED_SCHEMES = ("gs",)
"""What stock builds read besides local paths. The stand-in finds nothing there."""

Versions = dict[int, Path]


def poll(configs: Iterable[pb.ModelConfig]) -> dict[str, Versions]:
    """Return the versions that each model should have, by model name.

    Raises StatusError at the first model whose base path is missing: then no model gets an answer, so
    none notices a new version.
    """
    return dict(sorted((config.name, find_versions(config)) for config in configs))


def find_versions(config: pb.ModelConfig) -> Versions:
    base = Path(config.base_path)
    missing = why_missing(config.base_path)
    if missing:
        raise StatusError(
            Code.INVALID_ARGUMENT,
            f"Could not find base path {config.base_path} for servable {config.name} with error {missing}",
        )
    policy = config.model_version_policy
    if policy.WhichOneof("policy_choice") == "specific":
        found = _specific_versions_by_plain_name(config, base)
        if found is not None:
            return found
    versions = _apply_policy(config, _children_by_version(base))
    if not versions:
        log.warning(
            "No versions of servable %s found under base path %s. "
            "Did you forget to name your leaf directory as a number (eg. '/1/')?",
            config.name,
            config.base_path,
        )
    return versions


def why_missing(base_path: str) -> Status | None:
    """Return why there is no directory ``base_path``, None when there is one."""
    scheme, is_uri, _ = base_path.partition("://")
    if is_uri and scheme not in LINKED_SCHEMES:
        return Status(Code.UNIMPLEMENTED, f"File system scheme '{scheme}' not implemented (file: '{base_path}')")
    return None if is_there(Path(base_path)) else Status(Code.NOT_FOUND, f"{base_path} not found")


def _specific_versions_by_plain_name(config: pb.ModelConfig, base: Path) -> Versions | None:
    wanted = config.model_version_policy.specific.versions
    if not wanted:
        log.warning("No specific versions requested for servable %s.", config.name)
        return {}
    found = {version: base / str(version) for version in wanted}
    return found if all(is_there(path) for path in found.values()) else None


def _children_by_version(base: Path) -> Versions:
    """Return every child whose name is a number; of two names for one number the last in order wins."""
    try:
        names = sorted(os.listdir(base))
    except OSError as error:
        raise StatusError(Code.FAILED_PRECONDITION, f"{base}; {error.strerror}") from error
    children: Versions = {}
    for name in names:
        version = parse_version(name)
        if version is None:
            continue
        if version in children:
            log.warning(
                "Duplicate version directories detected. Version %d will be loaded from %s, %s will be ignored.",
                version,
                name,
                children[version].name,
            )
        children[version] = base / name
    return children


def parse_version(name: str) -> int | None:
    """Return the version that a directory name stands for, None when it is no 64-bit number."""
    if not name.isascii() or not VERSION_NUMBER.match(name):
        return None
    version = int(name)
    return version if -INT64_LIMIT <= version < INT64_LIMIT else None


def _apply_policy(config: pb.ModelConfig, children: Mapping[int, Path]) -> Versions:
    policy = config.model_version_policy
    match policy.WhichOneof("policy_choice"):
        case "all":
            return dict(children)
        case "specific":
            wanted = set(policy.specific.versions)
            for version in sorted(wanted - set(children)):
                log.warning(
                    "Version %d of servable %s, which was requested to be served as a 'specific' version "
                    "in the servable's version policy, was not found in the file system",
                    version,
                    config.name,
                )
            return {version: path for version, path in children.items() if version in wanted}
        case _:
            newest_first = sorted(children, reverse=True)
            return {version: children[version] for version in newest_first[: max(policy.latest.num_versions, 1)]}
