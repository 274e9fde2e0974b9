"""What the demonstration does on any cluster."""

from __future__ import annotations

import json
import time
from typing import Any

import yaml
from rich.console import Console

from e2e.cluster import CommandFailed
from e2e.cluster.progress import Progress
from e2e.demo.prediction import picture, predict
from e2e.demo.steps import Steps
from e2e.demo.target import CHART, CRD, MARK, NAMESPACE, OPERATOR_NAMESPACE, PROJECT, RELEASE, DemoFailed, Target
from e2e.models import TrainedModel

QUICKSTART = PROJECT / "examples" / "quickstart.yaml"
MODEL_STORE = PROJECT / "examples" / "model-store.yaml"
INSTALL_TIMEOUT_SECONDS = 120
READY_TIMEOUT_SECONDS = 420.0
POLL_SECONDS = 0.5


def install_operator(target: Target) -> None:
    """Install the chart; Helm installs CRDs but leaves an older one as it is, so that is brought up to date."""
    repository, tag = repository_and_tag(target.operator_image)
    apply_namespace(target, OPERATOR_NAMESPACE)
    if target.kubectl("get", "crd", CRD, "--ignore-not-found", "--output=name").stdout:
        target.kubectl("apply", "--server-side", "--force-conflicts", "--filename", CHART / "crds")
    try:
        target.helm(
            *("upgrade", "--install", RELEASE, CHART, "--namespace", OPERATOR_NAMESPACE),
            *("--set", f"image.repository={repository}", "--set-string", f"image.tag={tag}"),
            *("--wait", "--timeout", f"{INSTALL_TIMEOUT_SECONDS}s"),
        )
    except CommandFailed as error:
        in_namespace = ("--namespace", OPERATOR_NAMESPACE)
        pods = target.kubectl("get", "pods", *in_namespace, check=False).stdout
        log = target.kubectl("logs", f"deployment/{RELEASE}", "--tail=30", *in_namespace, check=False).stdout
        raise DemoFailed(f"{error}\n\n{pods}\n{log}") from error


def repository_and_tag(image: str) -> tuple[str, str]:
    """Return what the chart takes for ``image``; a colon before the last slash belongs to a registry's port."""
    if "@" in image:
        raise DemoFailed(f"{image} names a digest; the chart takes a tag: OPERATOR_IMAGE=REPOSITORY:TAG")
    place, slash, name = image.rpartition("/")
    name, _, tag = name.partition(":")
    return f"{place}{slash}{name}", tag or "latest"


def start_model_store(target: Target, model: TrainedModel) -> None:
    """Put the model where pods can fetch it: behind a web server in the cluster."""
    apply_namespace(target, NAMESPACE)
    in_namespace = ("--namespace", NAMESPACE)
    config_map = target.kubectl(
        *("create", "configmap", "model-store", f"--from-file={model.archive}", *in_namespace),
        *("--dry-run=client", "--output=yaml"),
    ).stdout
    target.kubectl("apply", "--server-side", "--filename=-", *in_namespace, stdin=config_map)
    target.kubectl(
        "apply", "--server-side", "--filename=-", *in_namespace, stdin=store_manifests(target.operator_image)
    )
    target.kubectl("rollout", "status", "deployment/model-store", "--timeout=120s", *in_namespace)


def apply_namespace(target: Target, name: str) -> None:
    """Make a namespace with the strictest Pod Security level, marked as the demonstration's own."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted", MARK[0]: MARK[1]}
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    target.kubectl("apply", "--server-side", "--filename=-", stdin=yaml.safe_dump(manifest))


def store_manifests(image: str) -> str:
    """The example of a model store, run from an image that the cluster has."""
    manifests = list(yaml.safe_load_all(MODEL_STORE.read_text()))
    (deployment,) = (manifest for manifest in manifests if manifest["kind"] == "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["image"] = image
    return yaml.safe_dump_all(manifests)


def apply_quickstart(target: Target) -> str:
    """Apply the example and return the ServedModel's name."""
    target.kubectl("apply", "--server-side", "--force-conflicts", "--namespace", NAMESPACE, "--filename", QUICKSTART)
    return str(yaml.safe_load(QUICKSTART.read_text())["metadata"]["name"])


def wait_until_ready(target: Target, name: str, progress: Progress) -> dict[str, Any]:
    """Return the ServedModel once it is ready; until then say what its conditions say."""
    deadline = time.monotonic() + READY_TIMEOUT_SECONDS
    while True:
        resource: dict[str, Any] = json.loads(
            target.kubectl("get", "servedmodel", name, "--namespace", NAMESPACE, "--output=json").stdout
        )
        ready = ready_condition(resource)
        if ready.get("status") == "True":
            return resource
        progress(f"{ready.get('reason', 'Pending')}: {ready.get('message', 'the operator has not seen it yet')}")
        if time.monotonic() > deadline:
            described = target.kubectl("describe", "servedmodel", name, "--namespace", NAMESPACE, check=False).stdout
            pods = target.kubectl("get", "pods", "--namespace", NAMESPACE, check=False).stdout
            raise DemoFailed(f"{name} is not ready after {READY_TIMEOUT_SECONDS:.0f} s:\n{described}\n{pods}")
        time.sleep(POLL_SECONDS)


def ready_condition(resource: dict[str, Any]) -> dict[str, Any]:
    """The Ready condition, if it is about the spec as it is now."""
    status = resource.get("status", {})
    if status.get("observedGeneration") != resource["metadata"]["generation"]:
        return {}
    return next((c for c in status.get("conditions", []) if c["type"] == "Ready"), {})


def run_demo(target: Target, model: TrainedModel, steps: Steps, console: Console) -> None:
    """Go from a cluster to a prediction, showing each step."""
    with steps.step("Install the operator with Helm"):
        install_operator(target)
    with steps.step("Put the model into a store in the cluster"):
        start_model_store(target, model)
    with steps.step("Apply examples/quickstart.yaml and wait until it serves") as say:
        name = apply_quickstart(target)
        resource = wait_until_ready(target, name, say)
    with steps.step("Send a prediction through the Service"):
        service, _, port = resource["status"]["endpoints"]["rest"].partition(":")
        sample = model.samples[0]
        with target.service_url(service.split(".")[0], int(port)) as url:
            answer = predict(url, resource["spec"]["models"][0]["name"], sample)
    console.print()
    console.print(picture(sample, answer))
    console.print(f"\n$ {target.kubectl_prefix()} get servedmodels", style="bold")
    listing = target.kubectl("get", "servedmodels", "--namespace", NAMESPACE).stdout
    console.print(listing, markup=False, highlight=False, soft_wrap=True)
    console.print(what_next(target, name), markup=False, highlight=False, soft_wrap=True)


def what_next(target: Target, name: str) -> str:
    """What the user can try on the cluster that was left running."""
    kubectl = target.kubectl_prefix()
    patch = f"{kubectl} patch servedmodel {name} --type=json --patch"
    version_1 = '[{"op": "add", "path": "/spec/models/0/versions", "value": {"specific": [1]}}]'
    lost = '[{"op": "replace", "path": "/spec/models/0/source/uri", "value": "http://model-store/lost.tar.gz"}]'
    tries = [
        ("Point kubectl at this cluster", target.how_to_use()),
        ("Watch, in a second terminal", f"{kubectl} get servedmodels --watch"),
        ("Scale", f"{kubectl} scale servedmodel {name} --replicas=2"),
        ("Serve version 1 instead of the latest", f"{patch} '{version_1}'"),
        ("Name a model that is not there: the old pods go on serving", f"{patch} '{lost}'"),
        ("... and read what the operator says about it", f"{kubectl} describe servedmodel {name}"),
        ("Delete what the operator made: it comes back", f"{kubectl} delete service {name}"),
        ("Remove everything", f"make demo-down{target.make_arguments()}"),
    ]
    lines = [f"  # {title}\n  {command}" for title, command in tries if command]
    return "\n".join(["The cluster stays up. What to try next:", *lines])
