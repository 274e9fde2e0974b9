"""GetModelStatus for gRPC and REST."""

from __future__ import annotations

from e2e.modelserver.states import ServableId, StateMonitor, VersionState
from e2e.modelserver.statuses import Code, StatusError
from e2e.modelserver.wire import serving_pb2 as pb


def model_status(states: StateMonitor, spec: pb.ModelSpec) -> pb.GetModelStatusResponse:
    """Return the state of one version, or of all; a version label is ignored."""
    response = pb.GetModelStatusResponse()
    if spec.WhichOneof("version_choice") == "version":
        version = spec.version.value
        state = states.version(ServableId(spec.name, version))
        if state is None:
            raise StatusError(Code.NOT_FOUND, f"Could not find version {version} of model {spec.name}")
        _add(response, version, state)
        return response
    versions = states.versions(spec.name)
    if not versions:
        raise StatusError(Code.NOT_FOUND, f"Could not find any versions of model {spec.name}")
    for version, state in versions.items():
        _add(response, version, state)
    return response


def _add(response: pb.GetModelStatusResponse, version: int, state: VersionState) -> None:
    entry = response.model_version_status.add(version=version, state=int(state.state))
    entry.status.error_code = state.health.code
    entry.status.error_message = state.health.message
