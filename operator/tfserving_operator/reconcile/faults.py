"""The Degraded condition: everything that is wrong, and nothing that is not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from tfserving_operator.api.conditions import Reason
from tfserving_operator.reconcile.conditions import Verdict
from tfserving_operator.reconcile.model_statuses import available_versions, is_known, wanted_failures
from tfserving_operator.reconcile.observed import Observed
from tfserving_operator.reconcile.plan import Refusal, current_models_config
from tfserving_operator.reconcile.pod_view import PodView
from tfserving_operator.reconcile.pool_state import PoolState
from tfserving_operator.reconcile.wording import shorten

_SILENCE_GRACE = timedelta(seconds=30)
_SILENCE_MESSAGE = (
    "a ready replica does not tell the operator which versions it serves: allow traffic from the operator to port "
    "8500 of the pods, or look whether the server is overloaded"
)
_RELOAD_GRACE = timedelta(seconds=10)
"""The server looks for new versions once a second; a version that it does not list after this is not there."""


def decide_degraded(observed: Observed, pools: Sequence[PoolState], refusals: Sequence[Refusal]) -> Verdict:
    """Say everything that is wrong, in the order in which a person would look; Unknown where servers stay silent."""
    faults: list[tuple[Reason, str]] = [(refusal.reason, refusal.message) for refusal in refusals]
    faults += [fault for pool in pools if (fault := pool_fault(pool)) is not None]
    faults += _model_faults(observed)
    if not faults:
        if observed.silent_since is not None and observed.now - observed.silent_since >= _SILENCE_GRACE:
            return Verdict(None, Reason.MODEL_STATUS_UNKNOWN, _SILENCE_MESSAGE)
        return Verdict(False, Reason.AS_EXPECTED, "nothing is wrong")
    return Verdict(True, faults[0][0], "; ".join(dict.fromkeys(message for _, message in faults)))


def pool_fault(pool: PoolState) -> tuple[Reason, str] | None:
    """Say what keeps replicas of ``pool`` from serving; None where nothing but time is missing."""
    if pool.problem is None or pool.ready >= max(pool.desired, pool.total):
        return None
    serving = f" (ready replicas that go on serving: {pool.ready})" if pool.ready else ""
    return pool.problem.reason, f"pool {pool.name}: {pool.problem.message}{serving}"


def lost_models(observed: Observed) -> str | None:
    """Say of which models no ready replica has a version; None where each has one, or a replica did not say.

    A model that replicas of an earlier spec never had is on its way with the new ones, and not lost.
    """
    config_name = current_models_config(observed)
    lost = [model.name for model in observed.model.spec.models if _is_lost(observed, model.name, config_name)]
    return f"no replica has an available version of {', '.join(lost)}" if lost else None


def _is_lost(observed: Observed, model: str, config_name: str) -> bool:
    answers = [
        statuses
        for pod in observed.pods
        if pod.is_ready
        and ((statuses := observed.model_statuses.get(pod.uid, {})).get(model) != () or config_name in pod.config_maps)
    ]
    return bool(answers) and all(is_known(a, model) and not available_versions(a, model) for a in answers)


def _model_faults(observed: Observed) -> list[tuple[Reason, str]]:
    faults: list[tuple[Reason, str]] = []
    ready = [pod for pod in observed.pods if pod.is_ready]
    followers = [pod for pod in ready if current_models_config(observed) in pod.config_maps]
    reloading = _is_reloading(observed, followers)
    lost = lost_models(observed)
    # Before the rest, as Ready says it too. Where all replicas are of an earlier spec, new pods are on their way.
    if lost is not None and followers and not reloading:
        faults.append((Reason.MODEL_LOAD_FAILED, lost))
    for model in observed.model.spec.models:
        answers = [observed.model_statuses[pod.uid] for pod in ready if pod.uid in observed.model_statuses]
        failures = {v.version: v.error_message for statuses in answers for v in wanted_failures(statuses, model)}
        for version, message in sorted(failures.items()):
            faults.append(
                (
                    Reason.MODEL_LOAD_FAILED,
                    f"model {model.name}: version {version} did not load ({shorten(message, 300)}); the versions "
                    "that were available go on serving: publish a good one under a new number",
                )
            )
        # A replica of an earlier spec cannot have what this one asks for: new pods are on their way.
        current = [observed.model_statuses.get(pod.uid, {}) for pod in followers]
        if not current or not all(is_known(statuses, model.name) for statuses in current) or reloading:
            continue
        available = set().union(*(available_versions(statuses, model.name) for statuses in current))
        for wanted in sorted(set(model.versions.specific or ()) - available - set(failures)):
            faults.append((Reason.VERSION_NOT_FOUND, _missing_version(model.name, wanted, available)))
        for label, version in sorted(model.labels.items()):
            if version not in available:
                faults.append((Reason.LABEL_NOT_AVAILABLE, _missing_label(model.name, label, version, available)))
    return faults


def _is_reloading(observed: Observed, ready: Sequence[PodView]) -> bool:
    """Whether a replica was told of versions or labels so recently that it may still be loading them."""
    if observed.model.spec.server.tls is not None:
        return False
    loaded = [observed.loaded_configs.get(pod.incarnation) for pod in ready]
    return any(config is None or observed.now - config.at < _RELOAD_GRACE for config in loaded)


def _missing_version(model: str, version: int, available: set[int]) -> str:
    return (
        f"model {model}: version {version} is wanted, but the servers do not find it; they serve "
        f"{_versions_text(available)}: publish it, or correct versions.specific"
    )


def _missing_label(model: str, label: str, version: int, available: set[int]) -> str:
    return (
        f"model {model}: label {label} points at version {version}, which is not served; served are "
        f"{_versions_text(available)}: point it at one of them, or serve that version"
    )


def _versions_text(versions: set[int]) -> str:
    return ", ".join(str(version) for version in sorted(versions, reverse=True)[:10]) or "none"
