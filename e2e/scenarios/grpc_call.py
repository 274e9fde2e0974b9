"""Asks a model server over gRPC for its versions; a program, as gRPC's own threads open its sockets.

Run inside the cluster's network. Prints the available versions, or the error's code, as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from e2e.cluster import Cluster
from tfserving_operator.wire import (
    GET_MODEL_STATUS_METHOD,
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelVersionStatus,
)

_PROJECT = Path(__file__).parents[2]
_TIMEOUT_SECONDS = 5


@dataclass(frozen=True)
class Trust:
    """Whom a client believes, and by which name; and what it shows of itself where that is asked for."""

    authority: Path
    server_name: str
    certificate: Path | None = None
    key: Path | None = None

    def words(self) -> list[str]:
        files = [] if self.certificate is None else [str(self.certificate), str(self.key)]
        return [str(self.authority), self.server_name, *files]


def available_versions(cluster: Cluster, address: str, model: str, trust: Trust | None = None) -> dict[str, Any]:
    """Ask inside the network of ``cluster``; with ``trust`` over TLS."""
    command = [sys.executable, "-m", __name__, address, model, *(trust.words() if trust else [])]
    environment = {**os.environ, "PYTHONPATH": str(_PROJECT)}
    process = cluster.popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    output, _ = process.communicate(timeout=4 * _TIMEOUT_SECONDS)
    answer: dict[str, Any] = json.loads(output)
    return answer


def _main(address: str, model: str, authority: str = "", server_name: str = "", *own: str) -> None:
    options = [("grpc.enable_http_proxy", 0)]
    if authority:
        # Nothing, or a certificate and its key, which gRPC wants the other way round.
        shown = [Path(file).read_bytes() for file in reversed(own)]
        credentials = grpc.ssl_channel_credentials(Path(authority).read_bytes(), *shown)
        channel = grpc.secure_channel(address, credentials, [*options, ("grpc.ssl_target_name_override", server_name)])
    else:
        channel = grpc.insecure_channel(address, options)
    call = channel.unary_unary(
        GET_MODEL_STATUS_METHOD,
        request_serializer=GetModelStatusRequest.SerializeToString,
        response_deserializer=GetModelStatusResponse.FromString,
    )
    try:
        answer = call(GetModelStatusRequest(model_spec={"name": model}), timeout=_TIMEOUT_SECONDS)
    except grpc.RpcError as error:
        print(json.dumps({"error": error.code().name}))
        return
    available = ModelVersionStatus.AVAILABLE
    print(json.dumps({"versions": [v.version for v in answer.model_version_status if v.state == available]}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
