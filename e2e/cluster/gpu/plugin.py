"""The device plugin of a node: ``python -m e2e.cluster.gpu.plugin INVENTORY``, run inside the node.

The kubelet resets any capacity that it does not know from a plugin, so this is the only way to GPUs
that the real scheduler counts and the real kubelet admits.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from e2e.cluster.gpu import deviceplugin_pb2 as api
from e2e.cluster.gpu import deviceplugin_pb2_grpc as services
from e2e.cluster.gpu.inventory import RESOURCE, Inventory

_PLUGINS = Path("/var/lib/kubelet/device-plugins")
_KUBELET = _PLUGINS / "kubelet.sock"
_OURS = _PLUGINS / "embedded-gpu.sock"
_POLL_SECONDS = 0.2


class Plugin(services.DevicePluginServicer):
    """Reports the inventory whenever it changes, and hands out what the kubelet asks for."""

    def __init__(self, inventory: Path) -> None:
        self._inventory = inventory

    def GetDevicePluginOptions(
        self, request: api.Empty, context: grpc.ServicerContext
    ) -> api.DevicePluginOptions:
        return api.DevicePluginOptions()

    def ListAndWatch(
        self, request: api.Empty, context: grpc.ServicerContext
    ) -> Iterator[api.ListAndWatchResponse]:
        reported: Inventory | None = None
        while context.is_active():
            present = Inventory.read(self._inventory)
            if present != reported:
                reported = present
                yield api.ListAndWatchResponse(devices=describe_devices(present))
            time.sleep(_POLL_SECONDS)

    def Allocate(self, request: api.AllocateRequest, context: grpc.ServicerContext) -> api.AllocateResponse:
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
    services.add_DevicePluginServicer_to_server(Plugin(inventory), server)
    server.add_insecure_port(f"unix:{_OURS}")
    server.start()
    return server


def _register() -> None:
    with grpc.insecure_channel(f"unix:{_KUBELET}") as channel:
        request = api.RegisterRequest(version="v1beta1", endpoint=_OURS.name, resource_name=RESOURCE)
        services.RegistrationStub(channel).Register(request, timeout=10, wait_for_ready=True)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
