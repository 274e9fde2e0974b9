"""What one server says of its models, in plain data."""

from __future__ import annotations

from collections.abc import Mapping

from tfserving_operator.api.model import Model
from tfserving_operator.clients.model_service import Unknown, VersionState, VersionStatus

ModelStatuses = Mapping[str, tuple[VersionStatus, ...] | Unknown]
"""By model name. ``Unknown`` is an answer that did not come, which says nothing of the model."""


def available_versions(statuses: ModelStatuses, model: str) -> set[int]:
    """Versions of ``model`` that the server can answer for; empty where it is not known."""
    return {version.version for version in _versions(statuses, model) if version.state is VersionState.AVAILABLE}


def _failed_versions(statuses: ModelStatuses, model: str) -> list[VersionStatus]:
    """Versions that ended with an error; one that was unloaded in order is not among them."""
    return [
        version
        for version in _versions(statuses, model)
        if version.state is VersionState.END and version.error_code != 0
    ]


def wanted_failures(statuses: ModelStatuses, model: Model) -> list[VersionStatus]:
    """Failed versions that the policy asks for; the server lists those of the past for as long as it lives."""
    failed = _failed_versions(statuses, model.name)
    policy = model.versions.policy()
    if policy.specific is not None:
        wanted = set(policy.specific)
    else:
        known = {version.version for version in failed} | available_versions(statuses, model.name)
        wanted = set(sorted(known, reverse=True)[: policy.latest])
    return [version for version in failed if version.version in wanted]


def is_known(statuses: ModelStatuses, model: str) -> bool:
    """Whether the server answered for ``model``."""
    return model in statuses and not isinstance(statuses[model], Unknown)


def _versions(statuses: ModelStatuses, model: str) -> tuple[VersionStatus, ...]:
    answer = statuses.get(model, ())
    return () if isinstance(answer, Unknown) else answer
