"""The device plugin of a node: ``python -m e2e.cluster.gpu.plugin INVENTORY``, run inside the node.

The kubelet resets any capacity that it does not know from a plugin, so this is the only way to GPUs
that the real scheduler counts and the real kubelet admits.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

from e2e.cluster.gpu import deviceplugin_pb2 as api
from e2e.cluster.gpu.inventory import RESOURCE, Inventory

_PLUGINS = Path("/var/lib/kubelet/device-plugins")
_KUBELET = _PLUGINS / "kubelet.sock"
_OURS = _PLUGINS / "embedded-gpu.sock"
_POLL_SECONDS = 0.2


class Plugin(grpc.GenericRpcHandler):
    """Reports the inventory whenever it changes, and hands out what the kubelet asks for."""

    def __init__(self, inventory: Path) -> None:
        self._inventory = inventory
        self._methods: Mapping[str | None, grpc.RpcMethodHandler[Any, Any]] = {
            "/v1beta1.DevicePlugin/GetDevicePluginOptions": grpc.unary_unary_rpc_method_handler(
                lambda request, context: api.DevicePluginOptions(),
                request_deserializer=api.Empty.FromString,
                response_serializer=api.DevicePluginOptions.SerializeToString,
            ),
            "/v1beta1.DevicePlugin/ListAndWatch": grpc.unary_stream_rpc_method_handler(
                self._list_and_watch,
                request_deserializer=api.Empty.FromString,
                response_serializer=api.ListAndWatchResponse.SerializeToString,
            ),
            "/v1beta1.DevicePlugin/Allocate": grpc.unary_unary_rpc_method_handler(
                lambda request, context: allocate(request),
                request_deserializer=api.AllocateRequest.FromString,
                response_serializer=api.AllocateResponse.SerializeToString,
            ),
        }

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return what handles the call."""
        return self._methods.get(details.method)

    def _list_and_watch(self, request: api.Empty, context: grpc.ServicerContext) -> Iterator[api.ListAndWatchResponse]:
        reported: Inventory | None = None
        while context.is_active():
            present = Inventory.read(self._inventory)
            if present != reported:
                reported = present
                yield api.ListAndWatchResponse(devices=describe_devices(present))
            time.sleep(_POLL_SECONDS)


def allocate(request: api.AllocateRequest) -> api.AllocateResponse:
    """Tell each container its GPUs, in the way that NVIDIA's runtime is told."""
    return api.AllocateResponse(
        container_responses=[
            api.ContainerAllocateResponse(envs={"NVIDIA_VISIBLE_DEVICES": ",".join(asked.devices_ids)})
            for asked in request.container_requests
        ]
    )


def describe_devices(inventory: Inventory) -> list[api.Device]:
    """Return the inventory in the kubelet's words."""
    return [
        api.Device(ID=f"GPU-{number}", health="Unhealthy" if number in inventory.unhealthy else "Healthy")
        for number in range(inventory.count)
    ]


def serve(inventory: Path) -> None:
    """Serve for ever; register again with each new kubelet, which removes our socket when it starts."""
    kubelet: int | None = None
    server: grpc.Server | None = None
    while True:
        present = _inode(_KUBELET)
        if present is not None and (present != kubelet or not _OURS.exists()):
            if server is not None:
                server.stop(grace=None).wait()
            server = _start(inventory)
            _register()
            kubelet = present
        time.sleep(_POLL_SECONDS)


def _start(inventory: Path) -> grpc.Server:
    _OURS.unlink(missing_ok=True)
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    server.add_generic_rpc_handlers((Plugin(inventory),))
    server.add_insecure_port(f"unix:{_OURS}")
    server.start()
    return server


def _register() -> None:
    request = api.RegisterRequest(version="v1beta1", endpoint=_OURS.name, resource_name=RESOURCE)
    with grpc.insecure_channel(f"unix:{_KUBELET}") as channel:
        register = channel.unary_unary(
            "/v1beta1.Registration/Register",
            request_serializer=api.RegisterRequest.SerializeToString,
            response_deserializer=api.Empty.FromString,
        )
        register(request, timeout=10, wait_for_ready=True)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
