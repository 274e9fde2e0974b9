"""etcd, kube-apiserver, kube-controller-manager and kube-scheduler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml

from e2e.cluster import network
from e2e.cluster.apiserver import ApiServer
from e2e.cluster.binaries import Binaries
from e2e.cluster.certificates import Authority, KeyPair, service_account_keys
from e2e.cluster.commands import run
from e2e.cluster.manifests import Manifest
from e2e.cluster.network import HostLink
from e2e.cluster.programs import Program, Programs, wait_until
from e2e.cluster.progress import Progress
from e2e.cluster.replacing import replace_text
from e2e.cluster.sandbox import Sandbox

_PORT = 6443
_SERVER_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc",
                 "kubernetes.default.svc.cluster.local", "localhost")  # fmt: skip
_AUDIT_LOG_MEGABYTES = 1_000_000
_AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
"""


@dataclass(frozen=True)
class ControlPlane:
    """The control plane of one cluster, whose files lie in ``directory``."""

    directory: Path
    sandbox: Sandbox
    link: HostLink
    binaries: Binaries
    unreachable_toleration_seconds: int
    node_grace_seconds: int = 8

    @property
    def server(self) -> str:
        """The apiserver's URL, as the host reaches it."""
        return f"https://{self.link.address}:{_PORT}"

    @property
    def server_inside(self) -> str:
        """The apiserver's URL, as everything in the cluster's network reaches it."""
        return f"https://{network.HUB_ADDRESS}:{_PORT}"

    @property
    def admin_kubeconfig(self) -> Path:
        """A kubeconfig with all rights, for the host."""
        return self.directory / "admin.kubeconfig"

    @cached_property
    def api(self) -> ApiServer:
        """The apiserver, to be asked whether things are ready."""
        return ApiServer(self.server, self.directory / "pki")

    @property
    def audit_log(self) -> Path:
        """Where the apiserver writes who asked what."""
        return self.directory / "audit.log"

    @property
    def programs(self) -> Programs:
        """The programs of the control plane and what runs beside it."""
        return Programs(self.directory / "programs", self.sandbox)

    @property
    def authority(self) -> Authority:
        """The authority that signs for this cluster."""
        pki = self.directory / "pki"
        return Authority(KeyPair((pki / "ca.crt").read_bytes(), (pki / "ca.key").read_bytes()))

    def start(self, *, crds: Sequence[Path], progress: Progress) -> None:
        """Start all parts and wait for them; ``crds`` are there before the controllers look for them.

        A CRD made later is garbage-collected properly only after the controller manager's next discovery.
        """
        progress("making certificates")
        self._write_pki()
        progress("starting etcd and the apiserver")
        self._start_etcd()
        self.start_apiserver()
        if crds:
            progress("installing custom resource definitions")
            self._install(crds)
        progress("starting the controller manager and the scheduler")
        started = [self._start_controller_manager(), self._start_scheduler()]
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        wait_until(lambda: self.api.answers(account), what="the default ServiceAccount", programs=started)

    def start_apiserver(self) -> None:
        """Start the apiserver and wait until it is ready."""
        programs = [self._start_apiserver()]
        wait_until(lambda: self.api.answers("/readyz"), what="the apiserver's readiness", programs=programs)

    def stop_apiserver(self, *, grace_seconds: float = 3) -> None:
        """Stop the apiserver; it is killed when open watches keep it draining longer than ``grace_seconds``."""
        self.programs.get("kube-apiserver").terminate(grace_seconds=grace_seconds)

    def kubeconfig(self, user: str, groups: Sequence[str] = (), *, inside: bool = False) -> str:
        """Return a kubeconfig for any identity, with the address for the host or for ``inside``."""
        return self.authority.kubeconfig(self.server_inside if inside else self.server, user, groups)

    def write_kubeconfig(self, user: str, groups: Sequence[str] = ()) -> Path:
        """Write a kubeconfig for a program inside and return its path."""
        path = self.directory / f"{user.replace(':', '-')}.kubeconfig"
        # Several nodes share the file: one that starts must never read what another is just writing.
        replace_text(path, self.kubeconfig(user, groups, inside=True), mode=0o600)
        return path

    def apply(self, objects: Sequence[Manifest]) -> None:
        """Create or change ``objects`` with all rights."""
        run(self._kubectl("apply", "--server-side", "--filename=-"), stdin=yaml.safe_dump_all(objects))

    def forget_node(self, name: str) -> None:
        """Delete a node from Kubernetes, if it was registered and the apiserver can be asked."""
        run(self._kubectl("delete", "node", name, "--ignore-not-found", "--request-timeout=5s"), check=False)

    def wait_for_crd(self, name: str) -> None:
        """Wait until objects of a custom resource definition can be made."""
        # "kubectl wait" fails on one that is so new that its conditions are null.
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"
        wait_until(lambda: self.api.has_condition(path, "Established"), what=f"the definition {name}")

    def _kubectl(self, *arguments: str) -> list[str]:
        return [str(self.binaries.kubernetes / "kubectl"), f"--kubeconfig={self.admin_kubeconfig}", *arguments]

    def _write_pki(self) -> None:
        pki = self.directory / "pki"
        pki.mkdir(mode=0o700)
        authority = Authority.create()
        authority.pair.write(pki, "ca")
        addresses = [network.HUB_ADDRESS, network.APISERVER_SERVICE_ADDRESS, self.link.address, "127.0.0.1"]
        authority.sign_server(_SERVER_NAMES, addresses).write(pki, "apiserver")
        authority.sign_client("kube-apiserver-kubelet-client", ["system:masters"]).write(pki, "kubelet-client")
        authority.sign_client("front-proxy-client").write(pki, "front-proxy")
        service_account_keys().write(pki, "service-account")
        self.admin_kubeconfig.touch(mode=0o600)
        self.admin_kubeconfig.write_text(self.kubeconfig("admin", ["system:masters"]))
        authority.sign_client("admin", ["system:masters"]).write(pki, "admin")
        (self.directory / "audit-policy.yaml").write_text(_AUDIT_POLICY)

    def _start_etcd(self) -> Program:
        client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
        return self.programs.start(
            "etcd",
            [
                self.binaries.etcd / "etcd",
                f"--data-dir={self.directory / 'etcd'}",
                f"--listen-client-urls={client}",
                f"--advertise-client-urls={client}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=default={peer}",
                "--unsafe-no-fsync",  # nobody needs this data after a power cut
                "--log-level=warn",
            ],
        )

    def _start_apiserver(self) -> Program:
        pki = self.directory / "pki"
        return self.programs.start(
            "kube-apiserver",
            [
                self.binaries.kubernetes / "kube-apiserver",
                "--etcd-servers=http://127.0.0.1:2379",
                f"--secure-port={_PORT}",
                f"--advertise-address={network.HUB_ADDRESS}",
                f"--tls-cert-file={pki / 'apiserver.crt'}",
                f"--tls-private-key-file={pki / 'apiserver.key'}",
                f"--client-ca-file={pki / 'ca.crt'}",
                "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction",
                f"--service-cluster-ip-range={network.SERVICE_CIDR}",
                "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
                f"--service-account-key-file={pki / 'service-account.crt'}",
                f"--service-account-signing-key-file={pki / 'service-account.key'}",
                # By name, it would ask a DNS that knows no nodes.
                "--kubelet-preferred-address-types=InternalIP",
                f"--kubelet-client-certificate={pki / 'kubelet-client.crt'}",
                f"--kubelet-client-key={pki / 'kubelet-client.key'}",
                "--allow-privileged",
                f"--requestheader-client-ca-file={pki / 'ca.crt'}",
                "--requestheader-allowed-names=front-proxy-client",
                "--requestheader-username-headers=X-Remote-User",
                "--requestheader-group-headers=X-Remote-Group",
                "--requestheader-extra-headers-prefix=X-Remote-Extra-",
                f"--proxy-client-cert-file={pki / 'front-proxy.crt'}",
                f"--proxy-client-key-file={pki / 'front-proxy.key'}",
                f"--audit-policy-file={self.directory / 'audit-policy.yaml'}",
                f"--audit-log-path={self.audit_log}",
                # Never rotated: a test that asks what nobody wrote must see all of it.
                f"--audit-log-maxsize={_AUDIT_LOG_MEGABYTES}",
                f"--default-not-ready-toleration-seconds={self.unreachable_toleration_seconds}",
                f"--default-unreachable-toleration-seconds={self.unreachable_toleration_seconds}",
            ],
        )

    def _client_flags(self, user: str) -> list[str]:
        """Return how a controller reaches the apiserver, as the only one of its kind."""
        kubeconfig = self.write_kubeconfig(user)
        flags = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
        return [*(f"--{flag}={kubeconfig}" for flag in flags), "--leader-elect=false"]

    def _start_controller_manager(self) -> Program:
        pki = self.directory / "pki"
        return self.programs.start(
            "kube-controller-manager",
            [
                self.binaries.kubernetes / "kube-controller-manager",
                *self._client_flags("system:kube-controller-manager"),
                "--use-service-account-credentials",
                # Its default of 20 requests a second would spend 4 s on fetching these credentials.
                "--kube-api-qps=300",
                "--kube-api-burst=500",
                f"--service-account-private-key-file={pki / 'service-account.key'}",
                f"--root-ca-file={pki / 'ca.crt'}",
                f"--cluster-signing-cert-file={pki / 'ca.crt'}",
                f"--cluster-signing-key-file={pki / 'ca.key'}",
                # A tenth of the defaults, so that tests of lost nodes take seconds.
                f"--node-monitor-grace-period={self.node_grace_seconds}s",
                "--node-monitor-period=1s",
            ],
        )

    def _start_scheduler(self) -> Program:
        return self.programs.start(
            "kube-scheduler",
            [
                self.binaries.kubernetes / "kube-scheduler",
                *self._client_flags("system:kube-scheduler"),
            ],
        )

    def _install(self, crds: Sequence[Path]) -> None:
        files = [f"--filename={path}" for path in crds]
        applied = run(self._kubectl("apply", "--server-side", "--output=name", *files)).stdout
        for resource in applied.split():
            self.wait_for_crd(resource.rpartition("/")[2])
