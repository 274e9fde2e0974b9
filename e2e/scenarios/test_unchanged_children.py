"""What the API server makes of a child is not mistaken for a change: else each reconcile would write it again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from e2e.cluster import Cluster, ClusterOptions
from e2e.scenarios.platform import PROJECT
from tests.resources.cases import CASES
from tfserving_operator.api.servedmodel import ObjectMeta, ServedModelSpec
from tfserving_operator.reconcile.drift import differences, is_up_to_date
from tfserving_operator.resources.desired import DesiredInputs, build_children
from tfserving_operator.resources.foreign_fields import without_foreign_fields
from tfserving_operator.resources.names import FIELD_MANAGER
from tfserving_operator.resources.replicas import share_replicas


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster.start(ClusterOptions()) as cluster:
        yield cluster


def specs() -> dict[str, dict[str, Any]]:
    """Every spec that stands in this project."""
    found = dict(CASES)
    files = [*sorted((PROJECT / "examples").glob("*.yaml")), PROJECT / "e2e" / "scenarios" / "argocd_models.yaml"]
    for file in files:
        for document in yaml.safe_load_all(file.read_text()):
            if document and document["kind"] == "ServedModel":
                found[f"{file.stem}-{document['metadata']['name']}"] = document["spec"]
    return found


@pytest.mark.parametrize("case", specs())
def test_a_child_that_was_applied_needs_no_other_write(cluster: Cluster, case: str) -> None:
    spec = ServedModelSpec.model_validate(specs()[case])
    name = f"m-{list(specs()).index(case)}"
    metadata = ObjectMeta(name=name, namespace="default", uid=f"uid-of-{name}")
    inputs = DesiredInputs("operator:1", share_replicas(spec.replicas, spec.pools), {})
    children = build_children(metadata, spec, inputs)
    text = "\n---\n".join(json.dumps(child) for child in children)
    manager = f"--field-manager={FIELD_MANAGER}"
    printed = cluster.kubectl(
        "apply", "--server-side", manager, "--show-managed-fields", "-o", "json", "-f", "-", input=text
    ).stdout
    for child, live in zip(children, json.loads(printed)["items"], strict=True):
        assert differences(live, child) == {}
        assert is_up_to_date(live, child)
        assert without_foreign_fields(live) is None
