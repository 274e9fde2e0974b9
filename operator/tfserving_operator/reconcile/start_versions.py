"""Which versions a replica that starts now is started with: those of the spec, once a replica has them."""

from __future__ import annotations

from collections.abc import Mapping

from tfserving_operator.api.model import ModelVersions
from tfserving_operator.api.refs import ObjectRef
from tfserving_operator.reconcile.model_statuses import available_versions
from tfserving_operator.reconcile.observed import Observed, RawObject
from tfserving_operator.resources.model_config import MODELS_CONFIG_KEY, is_reloadable
from tfserving_operator.wire import InvalidTextError, ModelServerConfig, from_text


def start_versions(observed: Observed, config_name: str) -> Mapping[str, ModelVersions]:
    """Return the versions by model, of models that are not to be started with what the spec says yet.

    Running replicas are told of other versions, and keep what they have while these are not there. A replica that is
    started with a version that is not there never gets ready: so as long as any replica serves and none has all that
    is asked for, others go on being started as before. ``config_name`` is the ConfigMap that they are started with.
    """
    spec = observed.model.spec
    serving = [pod for pod in observed.pods if pod.is_ready and config_name in pod.config_maps]
    statuses = [observed.model_statuses.get(pod.uid, {}) for pod in serving]
    awaited = [
        model.name
        for model in spec.models
        if is_reloadable(spec, model)
        and not any(set(model.versions.specific or ()) <= available_versions(each, model.name) for each in statuses)
    ]
    if not serving or not awaited:
        return {}
    ref = ObjectRef("v1", "ConfigMap", observed.model.metadata.namespace, config_name)
    before = _versions_in(observed.children.get(ref, {}))
    return {name: before[name] for name in awaited if name in before}


def _versions_in(config_map: RawObject) -> dict[str, ModelVersions]:
    """Return the versions of each model that a ConfigMap lists; none where somebody made it unreadable."""
    try:
        config = from_text(config_map.get("data", {}).get(MODELS_CONFIG_KEY, ""), ModelServerConfig)
    except InvalidTextError:
        return {}
    policies = {entry.name: entry.model_version_policy for entry in config.model_config_list.config}
    found = {}
    for name, policy in policies.items():
        match policy.WhichOneof("policy_choice"):
            case "specific" if policy.specific.versions:
                found[name] = ModelVersions(specific=list(policy.specific.versions))
            case "latest":
                found[name] = ModelVersions(latest=policy.latest.num_versions or 1)
            case "all":
                found[name] = ModelVersions(all=True)
    return found
