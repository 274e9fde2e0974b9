"""The wires of a cluster: a bridge in the control plane's namespace, a link to each node, one to the host.

Nothing is set on the host but one end of a veth pair and its address; routes, forwarding and iptables
rules are all in the namespaces, and vanish with them. So all clusters use the same addresses inside.
"""

from __future__ import annotations

import ipaddress
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from e2e.cluster.commands import run
from e2e.cluster.errors import NotPossibleHere
from e2e.cluster.locks import exclusive
from e2e.cluster.paths import machine_root
from e2e.cluster.sandbox import Sandbox

POD_CIDR = "10.244.0.0/16"
SERVICE_CIDR = "10.96.0.0/16"
APISERVER_SERVICE_ADDRESS = "10.96.0.1"
DNS_SERVICE_ADDRESS = "10.96.0.10"
HUB_ADDRESS = "10.89.0.1"
"""Where the control plane, the registry and CoreDNS are found from inside."""

# 198.18.0.0/15 is set aside for tests of network gear (RFC 2544), so it is rarely routed anywhere.
_HOST_LINKS = ipaddress.IPv4Network("198.18.0.0/15")
_BRIDGE = "hub"
_BRIDGE_HARDWARE_ADDRESS = "02:00:0a:59:00:01"


SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    # A connection whose ends were both killed would keep its network alive for minutes, saying goodbye in vain.
    "net/ipv4/tcp_orphan_retries": "1",
}
"""Kernel settings of the networks of a cluster, control plane and nodes alike."""


@dataclass(frozen=True)
class HostLink:
    """The veth pair between the host's network and a cluster's."""

    interface: str
    host_address: str
    address: str


def node_address(index: int) -> str:
    """Return the address of the ``index``-th node, counted from 1."""
    return f"10.89.0.{10 + index}"


def node_pod_cidr(index: int) -> str:
    """Return the range from which the ``index``-th node gives its pods addresses."""
    return f"10.244.{index}.0/24"


def build_hub(control_plane: Sandbox) -> HostLink:
    """Make the bridge for the nodes and the link to the host, on the first free addresses there."""
    _ip(
        control_plane,
        "link set lo up",
        # Left to itself, a bridge takes the lowest address of its ports: when that node went, all others would
        # lose the control plane until they ask for its address again.
        f"link add {_BRIDGE} address {_BRIDGE_HARDWARE_ADDRESS} type bridge",
        f"addr add {HUB_ADDRESS}/24 dev {_BRIDGE}",
        f"link set {_BRIDGE} up",
    )
    with exclusive(machine_root() / "host-links.lock"):
        link = _free_host_link()
        _ip_on_host(
            f"link add {link.interface} type veth peer name uplink netns {control_plane.init_pid}",
            f"addr add {link.host_address}/30 dev {link.interface}",
            f"link set {link.interface} up",
        )
    _ip(
        control_plane,
        f"addr add {link.address}/30 dev uplink",
        "link set uplink up",
        f"route add default via {link.host_address}",
    )
    # The host knows no route to pods, so what they send to it must look as if the cluster's end had sent it.
    rule = ["-t", "nat", "-A", "POSTROUTING", "-o", "uplink", "-j", "MASQUERADE"]
    run(control_plane.command(["iptables", "-w", *rule]))
    return link


def connect_node(control_plane: Sandbox, node: Sandbox, *, index: int) -> None:
    """Plug the ``index``-th node into the bridge and teach the control plane the way to its pods."""
    port = _port(index)
    _ip(control_plane, f"link add {port} type veth peer name eth0 netns {node.init_pid}")
    _ip(
        node,
        "link set lo up",
        f"addr add {node_address(index)}/24 dev eth0",
        "link set eth0 up",
        f"route add default via {HUB_ADDRESS}",
    )
    _ip(
        control_plane,
        f"link set {port} master {_BRIDGE} up",
        f"route replace {node_pod_cidr(index)} via {node_address(index)}",
    )


def cut(control_plane: Sandbox, *, index: int) -> None:
    """Pull the plug of the ``index``-th node."""
    _ip(control_plane, f"link set {_port(index)} down")


def heal(control_plane: Sandbox, *, index: int) -> None:
    """Put the plug of the ``index``-th node back."""
    _ip(control_plane, f"link set {_port(index)} up")


def _port(index: int) -> str:
    return f"node{index}"


def _free_host_link() -> HostLink:
    taken = _networks_on_host()
    for subnet in _HOST_LINKS.subnets(new_prefix=30):
        if not any(subnet.overlaps(other) for other in taken):
            host, inside = subnet.hosts()
            return HostLink(interface=f"k8s-{secrets.token_hex(4)}", host_address=str(host), address=str(inside))
    raise NotPossibleHere(f"no free subnet is left in {_HOST_LINKS}")


def _networks_on_host() -> list[ipaddress.IPv4Network]:
    interfaces = json.loads(run(["ip", "-json", "-4", "addr"]).stdout)
    return [
        ipaddress.IPv4Network(f"{address['local']}/{address['prefixlen']}", strict=False)
        for interface in interfaces
        for address in interface.get("addr_info", ())
    ]


def _ip(sandbox: Sandbox, *commands: str) -> None:
    # The host's PID namespace must stay, since pids in "netns PID" are the host's.
    run(sandbox.command(["ip", "-batch", "-"], mount=False, pid=False), stdin=_batch(commands))


def _ip_on_host(*commands: str) -> None:
    run(["ip", "-batch", "-"], stdin=_batch(commands))


def _batch(commands: Sequence[str]) -> str:
    return "".join(f"{command}\n" for command in commands)
