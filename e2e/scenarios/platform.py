"""A cluster with the operator installed from its chart, as a platform team would have it."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from pathlib import Path

import yaml

from e2e.cluster import Cluster
from e2e.scenarios.fleet import Fleet

PROJECT = Path(__file__).parents[2]
OPERATOR_NAMESPACE = "tfserving-system"
OPERATOR_USER = f"system:serviceaccount:{OPERATOR_NAMESPACE}:tfserving-operator"
OPERATOR_IMAGE = "localhost:5000/tfserving-operator"
MODEL_SERVER_IMAGE = "localhost:5000/modelserver-light:e2e"
IMAGE_TAG = "e2e"
BASE_IMAGE = "localhost:5000/base/python:bookworm"


@dataclass(frozen=True)
class Platform:
    """The cluster, and the image that model servers run from."""

    cluster: Cluster
    server_image: str

    def new_fleet(self, test_name: str) -> Fleet:
        """Make a namespace that enforces the restricted Pod Security level."""
        slug = re.sub(r"[^a-z0-9]+", "-", test_name.lower()).strip("-")[:40].strip("-")
        namespace = f"{slug}-{uuid.uuid4().hex[:6]}"
        apply_restricted_namespace(self.cluster, namespace)
        return Fleet(self.cluster, namespace, self.server_image)

    def scale_operator(self, replicas: int) -> None:
        """Stop or start the operator, and wait until it is so."""
        deployment = ("deployment/tfserving-operator", "-n", OPERATOR_NAMESPACE)
        self.cluster.kubectl("scale", f"--replicas={replicas}", *deployment)
        if replicas:
            self.cluster.kubectl("rollout", "status", *deployment, "--timeout=60s")
        else:
            selector = "app.kubernetes.io/name=tfserving-operator"
            self.cluster.kubectl(
                "wait", "pod", "--for=delete", "-l", selector, "-n", OPERATOR_NAMESPACE, "--timeout=60s"
            )

    def kill_operator(self) -> None:
        """Delete the operator's pod at once, as a lost node would; its Deployment starts another."""
        selector = "app.kubernetes.io/name=tfserving-operator"
        self.cluster.kubectl(
            *("delete", "pod", "-l", selector, "-n", OPERATOR_NAMESPACE, "--grace-period=0", "--force", "--wait=false")
        )


def apply_restricted_namespace(cluster: Cluster, name: str) -> None:
    """Make a namespace that enforces the restricted Pod Security level, or label the one that is there."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    cluster.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump(manifest))


def install_operator(cluster: Cluster, *values: str) -> None:
    """Build the operator's image, push it, and install the chart with Helm, under restricted Pod Security."""
    apply_restricted_namespace(cluster, OPERATOR_NAMESPACE)
    cluster.build_image(
        context=PROJECT,
        dockerfile=PROJECT / "Dockerfile",
        tag=f"{OPERATOR_IMAGE}:{IMAGE_TAG}",
        build_args={"BASE": BASE_IMAGE},
    )
    settings = [f"image.repository={OPERATOR_IMAGE}", f"image.tag={IMAGE_TAG}", *values]
    cluster.helm(
        *("upgrade", "--install", "tfserving-operator", PROJECT / "charts" / "tfserving-operator"),
        *("--namespace", OPERATOR_NAMESPACE, "--wait", "--timeout", "60s"),
        *(argument for setting in settings for argument in ("--set", setting)),
    )


def provide_model_server(cluster: Cluster, image: str | None) -> str:
    """Let the cluster have ``image`` from its registry, or else the stand-in; return the image that pods name."""
    if image is None:
        return build_model_server(cluster)
    cluster.copy_image(image)
    return image


def build_model_server(cluster: Cluster) -> str:
    """Build and push the stand-in without TensorFlow; return its image."""
    cluster.build_image(
        context=PROJECT,
        dockerfile=PROJECT / "e2e" / "modelserver" / "Dockerfile",
        tag=MODEL_SERVER_IMAGE,
        build_args={"BASE": BASE_IMAGE},
    )
    return MODEL_SERVER_IMAGE
