"""The embedded cluster itself: what its users rely on, seen on the real thing."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import httpx
import pytest
import yaml

from e2e.cluster import (
    AlreadyRunning,
    Cluster,
    ClusterError,
    ClusterOptions,
    CommandFailed,
    NotRunning,
    images,
    paths,
    runs,
)

_SERVER = """
import http.server, os, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        answers = {"/metrics": "requests_total 1\\n", "/gpus": os.environ.get("NVIDIA_VISIBLE_DEVICES", "")}
        self.wfile.write(answers.get(self.path, os.environ["HOSTNAME"]).encode())

http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
"""
_DOCKERFILE = """
ARG BASE
FROM ${BASE}
COPY server.py /
USER 65532:65532
ENTRYPOINT ["python3", "-u", "/server.py"]
"""
_IMAGE = "localhost:5000/tests/server:1"
_RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def test_every_resource_kind_works_on_a_control_plane_alone(control_plane: Cluster) -> None:
    control_plane.kubectl("create", "deployment", "web", "--image=web")
    control_plane.kubectl("wait", "--for=jsonpath={.status.unavailableReplicas}=1", "deployment/web", "--timeout=20s")
    assert "0/1" in control_plane.kubectl("get", "deployment", "web").stdout


def test_helm_talks_to_the_cluster(control_plane: Cluster) -> None:
    assert json.loads(control_plane.helm("list", "--output=json").stdout) == []


def test_a_failed_command_says_what_it_printed(control_plane: Cluster) -> None:
    with pytest.raises(CommandFailed, match=r"get pod absent exited with 1: .*NotFound"):
        control_plane.kubectl("get", "pod", "absent")


def test_the_audit_log_tells_who_did_what(control_plane: Cluster, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(control_plane.kubeconfig_as("alice", ["developers"]))
    refused = control_plane.kubectl(f"--kubeconfig={kubeconfig}", "delete", "configmap", "absent", check=False)
    assert 'User "alice" cannot delete resource "configmaps"' in refused.stderr

    (event,) = control_plane.audit_events(user="alice", verb="delete")

    assert (event.resource, event.namespace, event.name, event.code) == ("configmaps", "default", "absent", 403)
    assert control_plane.audit_events(user="alice", since=event.timestamp) != []


def test_the_apiserver_can_be_stopped_and_started(control_plane: Cluster) -> None:
    control_plane.kubectl("create", "configmap", "kept")

    control_plane.stop_apiserver()
    gone = control_plane.kubectl("get", "configmap", "kept", "--request-timeout=2s", check=False)
    control_plane.start_apiserver()

    assert gone.returncode != 0
    assert control_plane.kubectl("get", "configmap", "kept").returncode == 0


def test_definitions_are_there_from_the_start(tmp_path: Path) -> None:
    (tmp_path / "things.yaml").write_text(yaml.safe_dump(_definition()))

    with Cluster.start(ClusterOptions(crds=(tmp_path,))) as cluster:
        thing = {"apiVersion": "example.dev/v1", "kind": "Thing", "metadata": {"name": "first"}}
        cluster.kubectl("create", "-f", "-", input=yaml.safe_dump(thing))


def test_a_name_is_taken_while_its_cluster_runs_and_free_after(control_plane: Cluster) -> None:
    with pytest.raises(AlreadyRunning, match=control_plane.name):
        Cluster.start(ClusterOptions(name=control_plane.name))
    assert Cluster.attach(control_plane.name).kubeconfig == control_plane.kubeconfig

    options = ClusterOptions()
    Cluster.start(options).stop()
    with pytest.raises(NotRunning):
        Cluster.attach(options.name)


def test_a_pod_is_pulled_run_and_reached_by_name(cluster_with_node: Cluster, server: str) -> None:
    """The image comes from its Dockerfile, the namespace enforces the strictest Pod Security level."""
    _run(cluster_with_node, "pulled", server)
    cluster_with_node.kubectl("expose", "pod", "pulled", "--port=80", "--target-port=8000")
    _wait(lambda: _get(cluster_with_node, "pulled", 80) == "pulled", "an answer through the Service")

    from_inside = [
        "python3",
        "-c",
        "import urllib.request as u; print(u.urlopen('http://pulled.default').read().decode())",
    ]
    # Each node learns of the endpoint in its own time.
    _wait(
        lambda: cluster_with_node.kubectl("exec", "pulled", "--", *from_inside, check=False).stdout == "pulled\n",
        "an answer through the Service's name in a pod",
    )
    assert "GET / HTTP" in cluster_with_node.kubectl("logs", "pulled").stdout
    pulled = cluster_with_node.kubectl("get", "events", "--field-selector=reason=Pulled,involvedObject.name=pulled")
    assert f'Successfully pulled image "{server}"' in pulled.stdout


def test_an_image_of_any_registry_is_found_in_the_clusters_own(cluster_with_node: Cluster, server: str) -> None:
    _push_server(cluster_with_node, "docker.io/example/web:2.0")
    _run(cluster_with_node, "mirrored", "example/web:2.0")


def test_an_image_is_copied_from_another_registry(cluster_with_node: Cluster, server: str, tmp_path: Path) -> None:
    crane = cluster_with_node.program("crane", "crane")
    with _registry_elsewhere(crane, tmp_path) as registry:
        image = f"{registry}/team/web:3"
        subprocess.run([crane, "push", _server_layout(cluster_with_node), image], check=True, capture_output=True)
        cluster_with_node.copy_image(image)
        with pytest.raises(CommandFailed, match=r"MANIFEST_UNKNOWN|NAME_UNKNOWN"):
            cluster_with_node.copy_image(f"{registry}/team/absent:3")
    _run(cluster_with_node, "copied", image)


def test_a_tag_that_nobody_pushed_cannot_be_pulled(cluster_with_node: Cluster) -> None:
    cluster_with_node.kubectl("run", "absent", "--image=localhost:5000/tests/server:absent")
    reason = "{.status.containerStatuses[0].state.waiting.reason}"
    cluster_with_node.kubectl("wait", f"--for=jsonpath={reason}=ErrImagePull", "pod/absent", "--timeout=20s")


def test_an_image_can_be_mounted_beside_a_native_sidecar(
    cluster_with_node: Cluster, server: str, tmp_path: Path
) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "weights").write_text("0.5")
    cluster_with_node.push_files(tmp_path, "localhost:5000/models/half:1")
    pod = _pod("mounting", server)
    container = pod["spec"]["containers"][0]
    sidecar = {**container, "name": "sidecar", "restartPolicy": "Always", "command": ["sleep", "3600"]}
    pod["spec"]["initContainers"] = [sidecar]
    container["volumeMounts"] = [{"name": "model", "mountPath": "/model", "readOnly": True}]
    container["lifecycle"] = {"preStop": {"sleep": {"seconds": 1}}}
    pod["spec"]["volumes"] = [{"name": "model", "image": {"reference": "localhost:5000/models/half:1"}}]

    _create(cluster_with_node, pod)

    assert cluster_with_node.kubectl("exec", "mounting", "-c", "main", "--", "cat", "/model/1/weights").stdout == "0.5"


def test_a_container_over_its_memory_limit_is_oom_killed(cluster_with_node: Cluster, server: str) -> None:
    pod = _pod("hungry", server)
    hungry = {"command": ["python3", "-c", "b'x' * 10**9"], "resources": {"limits": {"memory": "64Mi"}}}
    pod["spec"] = {"restartPolicy": "Never", "containers": [{**pod["spec"]["containers"][0], **hungry}]}
    cluster_with_node.kubectl("create", "-f", "-", input=yaml.safe_dump(pod))
    reason = "{.status.containerStatuses[0].state.terminated.reason}"
    cluster_with_node.kubectl("wait", f"--for=jsonpath={reason}=OOMKilled", "pod/hungry", "--timeout=30s")


def test_gpus_are_scheduled_admitted_and_taken_away(cluster_with_node: Cluster, server: str) -> None:
    """The node of this cluster has two."""
    _run(cluster_with_node, "one-gpu", server, limits={"nvidia.com/gpu": "1"})
    assert cluster_with_node.kubectl("exec", "one-gpu", "--", "printenv", "NVIDIA_VISIBLE_DEVICES").stdout in {
        "GPU-0\n",
        "GPU-1\n",
    }

    waiting = _pod("two-gpus", server, limits={"nvidia.com/gpu": "2"})
    cluster_with_node.kubectl("create", "-f", "-", input=yaml.safe_dump(waiting))
    message = '{.status.conditions[?(@.type=="PodScheduled")].message}'
    _wait(
        lambda: (
            "Insufficient nvidia.com/gpu"
            in cluster_with_node.kubectl("get", "pod", "two-gpus", f"--output=jsonpath={message}").stdout
        ),
        "the scheduler's refusal",
    )

    cluster_with_node.break_gpus("node-1", 1)
    gpus = r"{.status.allocatable.nvidia\.com/gpu}"
    cluster_with_node.kubectl("wait", f"--for=jsonpath={gpus}=1", "node/node-1", "--timeout=20s")
    cluster_with_node.break_gpus("node-1")
    cluster_with_node.kubectl("wait", f"--for=jsonpath={gpus}=2", "node/node-1", "--timeout=20s")


def test_prometheus_scrapes_annotated_pods_and_survives_a_kill(cluster_with_node: Cluster, server: str) -> None:
    prometheus = cluster_with_node.prometheus
    prometheus.start()
    scraped = {"prometheus.io/scrape": "true", "prometheus.io/port": "8000", "prometheus.io/path": "/metrics"}
    _run(cluster_with_node, "scraped", server, annotations=scraped)
    _wait(lambda: prometheus.query('requests_total{pod="scraped"}') != [], "a sample of the pod's metric")

    prometheus.kill()
    with pytest.raises(httpx.TransportError):
        prometheus.query("up")
    prometheus.start()

    assert prometheus.query('requests_total{pod="scraped"}')[0].value == 1


def test_clusters_side_by_side_do_not_see_each_other(cluster_with_node: Cluster) -> None:
    with Cluster.start(ClusterOptions(nodes=1)) as other:
        other.kubectl("run", "only-here", "--image=localhost:5000/pause:1")
        other.kubectl("wait", "--for=condition=Ready", "pod/only-here", "--timeout=20s")
        assert "only-here" not in cluster_with_node.kubectl("get", "pods").stdout
        assert other.kubectl("get", "nodes", "--output=name").stdout == "node/node-1\n"


def test_pods_reach_each_other_across_nodes(nodes: Cluster) -> None:
    for node in ("node-1", "node-2"):
        _run(nodes, f"on-{node}", _IMAGE, node=node)
    address = nodes.kubectl("get", "pod", "on-node-2", "--output=jsonpath={.status.podIP}").stdout
    asking = f"import urllib.request as u; print(u.urlopen('http://{address}:8000').read().decode())"

    assert nodes.kubectl("exec", "on-node-1", "--", "python3", "-c", asking).stdout.strip() == "on-node-2"


def test_lost_nodes_are_noticed_and_come_back(nodes: Cluster) -> None:
    """Each in another way, all at once: it takes the cluster its time to notice."""
    lost = ("node/node-2", "node/node-3", "node/node-4")
    nodes.cut_network("node-2")
    nodes.kill_kubelet("node-3")
    nodes.kill_node("node-4")

    nodes.kubectl("wait", "--for=condition=Ready=Unknown", *lost, "--timeout=20s")
    ready = '{.status.conditions[?(@.type=="Ready")].status}'
    assert nodes.kubectl("get", "node", "node-1", f"--output=jsonpath={ready}").stdout == "True"

    nodes.heal_network("node-2")
    nodes.start_kubelet("node-3")
    nodes.boot_node("node-4")
    nodes.kubectl("wait", "--for=condition=Ready", *lost, "--timeout=20s")


def test_a_killed_kubelet_leaves_its_pods_running(nodes: Cluster) -> None:
    _run(nodes, "goes-on", _IMAGE, node="node-2")
    address = nodes.kubectl("get", "pod", "goes-on", "--output=jsonpath={.status.podIP}").stdout

    nodes.kill_kubelet("node-2")
    still = _get(nodes, address, 8000)
    nodes.start_kubelet("node-2")

    assert still == "goes-on"
    nodes.kubectl("wait", "--for=condition=Ready", "node/node-2", "--timeout=20s")


def test_what_cannot_happen_to_a_node_is_refused_in_a_sentence(nodes: Cluster) -> None:
    with pytest.raises(ClusterError, match="the kubelet of node-3 runs already"):
        nodes.start_kubelet("node-3")
    nodes.kill_node("node-4")
    for impossible in (nodes.cut_network, nodes.heal_network, nodes.kill_kubelet, nodes.start_kubelet):
        with pytest.raises(ClusterError, match="node-4 was killed; boot it first"):
            impossible("node-4")
    nodes.boot_node("node-4")


def test_a_node_that_does_not_start_leaves_its_name_free(nodes: Cluster) -> None:
    in_the_way = nodes.directory / "nodes" / "unlucky" / "kubelet.yaml"
    in_the_way.mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        nodes.add_node("unlucky")
    assert "unlucky" not in nodes.nodes()
    assert "unlucky" not in nodes.kubectl("get", "nodes", "--output=name").stdout

    nodes.add_node("unlucky")


def test_a_cluster_without_nodes_gets_one_that_later_processes_can_use() -> None:
    with Cluster.start(ClusterOptions()) as cluster:
        with pytest.raises(ClusterError, match="has no registry"):
            cluster.push_files(cluster.directory / "pki", "localhost:5000/files:1")
        cluster.add_node("first")

        found = Cluster.attach(cluster.name)
        found.kill_node("first")
        found.boot_node("first")
        assert found.program("crane", "crane").exists()


def test_a_node_can_join_later(nodes: Cluster) -> None:
    nodes.add_node("late", gpus=1)
    _run(nodes, "on-late", _IMAGE, node="late", limits={"nvidia.com/gpu": "1"})


def test_a_node_that_is_booted_again_has_the_gpus_that_it_had(nodes: Cluster) -> None:
    nodes.add_node("booted", gpus=1)

    nodes.kill_node("booted")
    nodes.boot_node("booted")

    gpus = r"{.status.allocatable.nvidia\.com/gpu}"
    nodes.kubectl("wait", f"--for=jsonpath={gpus}=1", "node/booted", "--timeout=20s")


def _press_ctrl_c(owner: subprocess.Popen[str]) -> None:
    # A terminal tells all processes of the owner's group, those that belong to the cluster too.
    os.killpg(owner.pid, signal.SIGINT)


@pytest.mark.parametrize(
    "end", [pytest.param(subprocess.Popen.kill, id="SIGKILL"), pytest.param(_press_ctrl_c, id="Ctrl-C")]
)
def test_nothing_is_left_when_the_owner_is_killed(end: Callable[[subprocess.Popen[str]], None]) -> None:
    """As after an Out of Memory kill or a cancelled CI job: no processes, links, mounts, control groups, files."""
    owner, facts = _start_in_another_process(detached=False)
    end(owner)
    owner.wait(timeout=60)

    _wait(lambda: not Path("/proc", str(facts["init_pid"])).exists(), "the end of the cluster's processes")
    runs.reap_dead_runs()

    _assert_no_trace(facts)


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(lambda owner, name: owner.kill(), id="its owner is killed"),
        pytest.param(lambda owner, name: owner.terminate(), id="its owner is terminated"),
        pytest.param(lambda owner, name: Cluster.remove(name), id="it is stopped by name"),
    ],
)
def test_a_cluster_that_is_not_up_yet_can_be_got_rid_of(end: Callable[[subprocess.Popen[bytes], str], None]) -> None:
    options = ClusterOptions(detached=True)
    program = f"from e2e.cluster import *; Cluster.start(ClusterOptions(name={options.name!r}, detached=True))"
    project = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", program], cwd=project, stderr=subprocess.DEVNULL) as owner:
        _wait(lambda: runs.find_init(options.name) is not None, "the first process")
        init = runs.find_init(options.name)
        assert init is not None
        with pytest.raises(NotRunning):
            Cluster.attach(options.name)
        end(owner, options.name)
        assert owner.wait(timeout=20) != 0

    _wait(lambda: not init.is_alive(), "the end of the cluster's processes")
    runs.reap_dead_runs()
    runs.check_free(options.name)
    _wait(lambda: list(paths.runs_root().glob(f"*{options.name}*")) == [], "the end of its files")


def test_a_detached_cluster_outlives_its_owner_and_goes_when_told() -> None:
    owner, facts = _start_in_another_process(detached=True)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    cluster = Cluster.attach(str(facts["name"]))
    assert cluster.kubectl("get", "nodes").returncode == 0

    cluster.stop()

    _assert_no_trace(facts)


@pytest.fixture(scope="module")
def server(cluster_with_node: Cluster) -> str:
    """The image of a small HTTP server, built from a Dockerfile and pushed."""
    _push_server(cluster_with_node, _IMAGE)
    return _IMAGE


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    """A cluster of four nodes that tests may harm and mend."""
    with Cluster.start(ClusterOptions(nodes=4)) as cluster:
        _push_server(cluster, _IMAGE)
        yield cluster


def _push_server(cluster: Cluster, tag: str) -> None:
    context = _server_context(cluster)
    cluster.build_image(context=context, dockerfile=context / "Dockerfile", tag=tag)


def _server_context(cluster: Cluster) -> Path:
    context = cluster.directory / "test-server"
    context.mkdir(exist_ok=True)
    (context / "server.py").write_text(_SERVER)
    (context / "Dockerfile").write_text(_DOCKERFILE)
    return context


def _server_layout(cluster: Cluster) -> Path:
    context = _server_context(cluster)
    return images.build(images.ImageBuild(context, context / "Dockerfile"))


@contextmanager
def _registry_elsewhere(crane: Path, directory: Path) -> Iterator[str]:
    """Run a registry on this machine and give its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    command = [str(crane), "registry", "serve", f"--address={address}", f"--disk={directory}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as registry:
        try:
            _wait(lambda: _is_registry(address), "the other registry's start")
            yield address
        finally:
            registry.kill()


def _is_registry(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/v2/", trust_env=False).is_success
    except httpx.TransportError:
        return False


def _pod(
    name: str,
    image: str,
    *,
    limits: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    node: str | None = None,
) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": image,
        "securityContext": _RESTRICTED,
        "resources": {"limits": limits or {}},
        "readinessProbe": {"httpGet": {"port": 8000, "path": "/"}, "periodSeconds": 1},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"run": name}, "annotations": annotations or {}},
        "spec": {
            "containers": [container],
            "nodeSelector": {"kubernetes.io/hostname": node} if node else {},
            "terminationGracePeriodSeconds": 2,
        },
    }


def _run(cluster: Cluster, name: str, image: str, **how: Any) -> None:
    _create(cluster, _pod(name, image, **how))


def _create(cluster: Cluster, pod: dict[str, Any]) -> None:
    """Create the pod under the strictest Pod Security level and wait until it is ready."""
    cluster.kubectl("label", "namespace", "default", "pod-security.kubernetes.io/enforce=restricted", "--overwrite")
    cluster.kubectl("create", "-f", "-", input=yaml.safe_dump(pod))
    cluster.kubectl("label", "namespace", "default", "pod-security.kubernetes.io/enforce-")
    cluster.kubectl("wait", "--for=condition=Ready", f"pod/{pod['metadata']['name']}", "--timeout=40s")


def _get(cluster: Cluster, host: str, port: int) -> str | None:
    """Ask as a program in the cluster's network does, which resolves names as pods do."""
    asking = f"import urllib.request as u; print(u.urlopen('http://{host}:{port}', timeout=2).read().decode())"
    with cluster.popen(
        [sys.executable, "-c", asking], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as client:
        answer = client.communicate()[0]
    return str(answer).strip() if client.returncode == 0 else None


def _start_in_another_process(*, detached: bool) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    program = dedent(f"""
        import json, signal, time
        # What a shell runs in the background ignores Ctrl-C, and so do the children of these tests then.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from e2e.cluster import Cluster, ClusterOptions, runs
        cluster = Cluster.start(ClusterOptions(nodes=1, detached={detached}))
        cluster.kubectl("run", "pod", "--image=localhost:5000/pause:1")
        cluster.kubectl("wait", "--for=condition=Ready", "pod/pod", "--timeout=30s")
        print(runs.find(cluster.name)[1].model_dump_json(), flush=True)
        time.sleep(600)
    """)
    project = Path(__file__).parents[2]
    owner = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=project, process_group=0
    )
    assert owner.stdout is not None
    with owner.stdout:
        return owner, json.loads(owner.stdout.readline())


def _assert_no_trace(facts: dict[str, Any]) -> None:
    assert not (paths.runs_root() / facts["name"]).exists()
    assert list(Path("/sys/fs/cgroup").glob(f"**/embedded-cluster/{facts['cgroup']}")) == []
    # The kernel takes network namespaces apart in its own time.
    _wait(lambda: not Path("/sys/class/net", facts["link"]["interface"]).exists(), "the end of the link")
    assert facts["name"] not in Path("/proc/self/mountinfo").read_text()
    # Its layers are removed in the background.
    _wait(lambda: not [pid for pid in _pids() if facts["name"] in _command_line(pid)], "the end of all processes")
    assert list(paths.runs_root().glob(f"*{facts['name']}*")) == []


def _pids() -> list[str]:
    return [entry for entry in os.listdir("/proc") if entry.isdigit()]


def _command_line(pid: str) -> str:
    try:
        return Path("/proc", pid, "cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _definition() -> dict[str, Any]:
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object"}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.dev"},
        "spec": {
            "group": "example.dev",
            "scope": "Namespaced",
            "names": {"kind": "Thing", "plural": "things"},
            "versions": [version],
        },
    }


def _wait(is_so: Callable[[], bool], what: str, *, deadline_seconds: float = 20) -> None:
    deadline = time.monotonic() + deadline_seconds
    while not is_so():
        assert time.monotonic() < deadline, f"{what} did not come within {deadline_seconds:.0f} s"
        time.sleep(0.1)
