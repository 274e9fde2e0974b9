"""Where models come from: an object store, a volume, an image, and several of them in one server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e.modelserver.knobs import Behaviour
from e2e.modelserver.model_writer import write_light_model
from e2e.scenarios.fleet import Fleet
from e2e.scenarios.model_store import CORRUPT
from e2e.scenarios.object_store import ObjectStore, object_store
from e2e.scenarios.objects import Manifest
from e2e.scenarios.platform import Platform

IMAGE = "localhost:5000/models/three:1"


@dataclass(frozen=True)
class Sources:
    """A namespace with a claim and Secrets, and what is behind them."""

    fleet: Fleet
    volume: Path
    """Directory of the claim ``models``."""
    bucket_uri: str

    def publish(self, model: str, version: int, behaviour: Behaviour | None = None) -> None:
        """Put a version onto the volume; it appears by an atomic rename."""
        write_light_model(self.volume / model, version, behaviour=behaviour or answers(version))

    def from_bucket(self, **fields: Any) -> Manifest:
        return model({"uri": self.bucket_uri, "credentials": {"secretName": "right-keys"}}, **fields)


def answers(version: int) -> Behaviour:
    """Every prediction is the version's number, so that it shows who answered."""
    return Behaviour(echo=False, fill_value=float(version))


def model(source: Manifest | str, name: str = "m", **fields: Any) -> Manifest:
    return {"name": name, "source": {"uri": source} if isinstance(source, str) else source, **fields}


@pytest.fixture(scope="module")
def s3(platform: Platform) -> Iterator[ObjectStore]:
    with object_store(platform.cluster.host_address) as store:
        yield store


@pytest.fixture(scope="module")
def sources(platform: Platform, s3: ObjectStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sources]:
    directory = tmp_path_factory.mktemp("sources")
    for version in (1, 2):
        write_light_model(directory / "two", version, behaviour=answers(version))
        write_light_model(directory / "three", version + 2, behaviour=answers(version + 2))
    platform.cluster.push_files(directory / "three", IMAGE)
    fleet = platform.new_fleet("sources")
    volume = directory / "volume"
    volume.mkdir()
    sources = Sources(fleet, volume, s3.upload(directory / "two", "vision/two"))
    sources.publish("published", 1)
    sources.publish("spoiled", 1)
    sources.publish("labelled", 1)
    sources.publish("labelled", 2)
    make_claim(fleet, "models", volume)
    make_secret(fleet, "right-keys", s3.secret_values())
    make_secret(fleet, "wrong-keys", s3.secret_values(secret_key="not-the-secret-key"))
    serve_all(sources)
    fleet.wait_settled("volume")
    fleet.wait_settled("spoiled")
    sources.publish("spoiled", 2, Behaviour(fail_load=CORRUPT))
    yield sources
    platform.cluster.kubectl("delete", "namespace", fleet.namespace, "--wait=false")
    platform.cluster.kubectl("delete", "persistentvolume", f"{fleet.namespace}-models", "--wait=false")


def make_secret(fleet: Fleet, name: str, values: dict[str, str]) -> None:
    fleet.kubectl("create", "secret", "generic", name, *(f"--from-literal={k}={v}" for k, v in values.items()))


def make_claim(fleet: Fleet, name: str, directory: Path) -> None:
    """Make a claim on a volume that an administrator has made of a directory of the node."""
    volume = f"{fleet.namespace}-{name}"
    shared = {"accessModes": ["ReadOnlyMany"], "storageClassName": ""}
    on_the_node = {
        "key": "kubernetes.io/hostname",
        "operator": "In",
        "values": fleet.cluster.nodes()[:1],
    }
    persistent_volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": volume},
        "spec": {
            **shared,
            "capacity": {"storage": "1Gi"},
            "local": {"path": str(directory)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [on_the_node]}]}},
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {**shared, "volumeName": volume, "resources": {"requests": {"storage": "1Gi"}}},
    }
    fleet.apply(persistent_volume, claim)


def serve_all(sources: Sources) -> None:
    """Apply all at once, since each takes its time to start or to show what is wrong."""
    wrong_keys = {"uri": sources.bucket_uri, "credentials": {"secretName": "wrong-keys"}}
    no_such_bucket = {"uri": "s3://no-such-bucket/m", "credentials": {"secretName": "right-keys"}}
    models = {
        "bucket": [sources.from_bucket()],
        "volume": [model("pvc://models/published")],
        "spoiled": [model("pvc://models/spoiled")],
        "image": [model(f"oci://{IMAGE}")],
        "mixed": [
            sources.from_bucket(name="fetched"),
            model("pvc://models/labelled", "mounted", versions={"all": True}, labels={"stable": 1}),
            model(f"oci://{IMAGE}", "imaged"),
        ],
        "wrong-keys": [model(wrong_keys)],
        "no-such-bucket": [model(no_such_bucket)],
        "no-such-directory": [model("pvc://models/nowhere")],
        "no-such-version": [model("pvc://models/labelled", versions={"specific": [9]})],
        "no-such-claim": [model("pvc://nothing/labelled")],
        "no-such-image": [model("oci://localhost:5000/models/nothing:1")],
    }
    sources.fleet.apply(*(sources.fleet.served_model(name, {"models": entries}) for name, entries in models.items()))


def prediction(fleet: Fleet, service: str, name: str = "m") -> float:
    return float(fleet.predict(service, name)["predictions"][0])


def pod_uids(fleet: Fleet, name: str) -> set[str]:
    return {pod["metadata"]["uid"] for pod in fleet.pods(name)}


def test_the_latest_of_a_bucket_is_served_and_a_named_one_in_its_place(sources: Sources) -> None:
    fleet = sources.fleet
    fleet.wait_settled("bucket")
    assert prediction(fleet, "bucket") == 2.0
    with fleet.keeps_serving("bucket", "m"):
        fleet.serve("bucket", {"models": [sources.from_bucket(versions={"specific": [1]})]})
        fleet.wait("version 1 answers", lambda: prediction(fleet, "bucket") == 1.0)


def test_a_volume_takes_new_versions_at_run_time(sources: Sources) -> None:
    fleet = sources.fleet
    assert prediction(fleet, "volume") == 1.0
    pods = pod_uids(fleet, "volume")
    with fleet.keeps_serving("volume", "m"):
        sources.publish("published", 2)
        fleet.wait("version 2 answers", lambda: prediction(fleet, "volume") == 2.0)
    assert pod_uids(fleet, "volume") == pods


def test_a_corrupt_version_at_run_time_is_told_while_the_old_one_serves(sources: Sources) -> None:
    fleet = sources.fleet
    condition = fleet.wait_condition("spoiled", "Degraded", "True", reason="ModelLoadFailed")
    print(f"corrupt at run time: {condition['message']}")
    assert "version 2 did not load" in condition["message"]
    assert CORRUPT in condition["message"]
    assert fleet.condition("spoiled", "Ready")["status"] == "True"
    assert prediction(fleet, "spoiled") == 1.0
    sources.publish("spoiled", 3)
    fleet.wait("version 3 answers", lambda: prediction(fleet, "spoiled") == 3.0)
    fleet.wait_condition("spoiled", "Degraded", "False")
    [pod] = fleet.pods("spoiled")
    assert [status["restartCount"] for status in pod["status"]["containerStatuses"]] == [0]


def test_an_image_is_mounted(sources: Sources) -> None:
    sources.fleet.wait_settled("image")
    assert prediction(sources.fleet, "image") == 4.0


def test_a_directory_of_the_node_is_mounted_where_pod_security_lets_it(sources: Sources, fleet: Fleet) -> None:
    fleet.serve("node", {"models": [model(f"file://{sources.volume}/published")]}, ready=False)
    condition = fleet.wait_condition("node", "Degraded", "True", reason="PodRejected")
    print(f"file:// under the restricted level: {condition['message']}")
    assert 'restricted volume type "hostPath"' in condition["message"]
    enforce = "pod-security.kubernetes.io/enforce=privileged"
    fleet.kubectl("label", "namespace", fleet.namespace, enforce, "--overwrite")
    fleet.wait_settled("node")
    assert prediction(fleet, "node") in (1.0, 2.0)


def test_one_server_holds_models_of_three_kinds_of_sources(sources: Sources) -> None:
    fleet = sources.fleet
    fleet.wait_settled("mixed")
    assert {name: prediction(fleet, "mixed", name) for name in ("fetched", "mounted", "imaged")} == {
        "fetched": 2.0,
        "mounted": 2.0,
        "imaged": 4.0,
    }
    pods = pod_uids(fleet, "mixed")

    def stable() -> float | None:
        answer = fleet.predict_label("mixed", "mounted", "stable")
        return answer["predictions"][0] if answer else None

    fleet.wait("the label answers", lambda: stable() == 1.0)
    moved = model("pvc://models/labelled", "mounted", versions={"all": True}, labels={"stable": 2})
    models = [sources.from_bucket(name="fetched"), moved, model(f"oci://{IMAGE}", "imaged")]
    fleet.serve("mixed", {"models": models})
    fleet.wait("the label has moved", lambda: stable() == 2.0)
    assert pod_uids(fleet, "mixed") == pods


@pytest.mark.parametrize(
    ("name", "reason", "words"),
    [
        ("wrong-keys", "CredentialsRejected", "SignatureDoesNotMatch"),
        ("no-such-bucket", "ModelPathNotFound", "s3://no-such-bucket/m"),
        ("no-such-directory", "ModelPathNotFound", "claim models does not have the directory"),
        ("no-such-version", "VersionNotFound", "version 9 of model m is not there; there are: 1 2"),
        ("no-such-claim", "MissingReference", "claim nothing does not exist"),
        ("no-such-image", "ImagePullFailed", "localhost:5000/models/nothing:1"),
    ],
)
def test_a_source_that_is_not_there_is_explained(sources: Sources, name: str, reason: str, words: str) -> None:
    condition = sources.fleet.wait_condition(name, "Degraded", "True", reason=reason)
    print(f"{name}: {condition['reason']}: {condition['message']}")
    assert words in condition["message"]
    assert "not-the-secret-key" not in condition["message"]
