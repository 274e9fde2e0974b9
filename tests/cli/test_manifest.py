from __future__ import annotations

import io
from pathlib import Path

import pytest

from tfserving_operator.cli.manifest import ManifestError, read_manifest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SERVED = """
apiVersion: tfserving.dev/v1alpha1
kind: ServedModel
metadata: {{name: {name}, namespace: shop}}
spec:
  models: [{{name: m, source: {{uri: "s3://models/m"}}}}]
"""
OTHER = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"


def write(folder: Path, text: str) -> str:
    (folder / "m.yaml").write_text(text)
    return str(folder / "m.yaml")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(SERVED.format(name="a"), id="alone"),
        pytest.param(f"---\n{OTHER}---\n{SERVED.format(name='a')}---\n", id="among others"),
        pytest.param("\ufeff" + SERVED.format(name="a"), id="BOM"),
        pytest.param(
            '{"apiVersion": "v1", "kind": "List", "items": ['
            '{"apiVersion": "tfserving.dev/v1alpha1", "kind": "ServedModel", '
            '"metadata": {"name": "a", "namespace": "shop", "uid": "1", "managedFields": [{"manager": "kubectl"}]}, '
            '"spec": {"models": [{"name": "m", "source": {"uri": "s3://b/m"}}]}, "status": {"replicas": 1}}]}',
            id="as kubectl prints it",
        ),
    ],
)
def test_the_servedmodel_is_found(text: str, tmp_path: Path) -> None:
    it = read_manifest(write(tmp_path, text))
    assert (it.name, it.namespace) == ("a", "shop")
    assert it.spec.models[0].name == "m"


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(SERVED.format(name="a")))
    assert read_manifest("-").name == "a"


def test_one_of_several_is_chosen_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, "---".join(SERVED.format(name=name) for name in "abc"))
    assert read_manifest(path, name="b").name == "b"
    several = r"3 ServedModels in .*m\.yaml \(shop/a, shop/b, shop/c\): choose one with --name, and --namespace"
    with pytest.raises(ManifestError, match=several):
        read_manifest(path)


def test_one_of_several_with_one_name_is_chosen_by_namespace(tmp_path: Path) -> None:
    shop = SERVED.format(name="a")
    path = write(tmp_path, f"{shop}---{shop.replace('shop', 'test')}---{shop.replace(', namespace: shop', '')}")
    with pytest.raises(ManifestError, match=r"\(shop/a, test/a, a\)"):
        read_manifest(path, name="a")
    with pytest.raises(ManifestError, match=r"\(test/a, a\)"):
        read_manifest(path, name="a", namespace="test")
    two = write(tmp_path, f"{shop}---{shop.replace('shop', 'test')}")
    assert read_manifest(two, namespace="test").namespace == "test"
    with pytest.raises(ManifestError, match="no ServedModel a of the namespace prod in"):
        read_manifest(two, name="a", namespace="prod")


def test_a_single_one_is_taken_whatever_the_namespace(tmp_path: Path) -> None:
    assert read_manifest(write(tmp_path, SERVED.format(name="a")), namespace="prod").namespace == "shop"


def test_every_example_is_read(tmp_path: Path) -> None:
    for example in sorted(EXAMPLES.glob("*.yaml")):
        if "kind: ServedModel" in example.read_text():
            assert read_manifest(str(example)).spec.models


def test_keys_that_are_merged_in_may_be_overwritten(tmp_path: Path) -> None:
    pools = "  pools: [&a {name: a, cost: 1e3, replicas: {max: 3}}, {<<: *a, name: b}]\n"
    it = read_manifest(write(tmp_path, SERVED.format(name="a") + pools))
    assert [(pool.name, pool.cost, pool.replicas.max) for pool in it.spec.pools] == [("a", 1000, 3), ("b", 1000, 3)]


def test_names_are_not_needed(tmp_path: Path) -> None:
    begin = "apiVersion: tfserving.dev/v1alpha1\nkind: ServedModel\n"
    it = read_manifest(write(tmp_path, f"{begin}spec: {{models: [{{name: m, source: {{uri: 's3://b/m'}}}}]}}"))
    assert (it.name, it.namespace) == (None, None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "there is no ServedModel in"),
        (OTHER, "there is no ServedModel in"),
        ("just words", "there is no ServedModel in"),
        ("kind: [", "is not YAML"),
        ("kind: ServedModel\nkind2: {", "is not YAML"),
        ("kind: ServedModel\nmetadata: {creationTimestamp: 2024-99-99T00:00:00Z}\n", "is not YAML: .*month must be"),
        ("[" * 3000, "is not YAML: it is nested too deeply"),
        ("kind: !!bool x", "is not YAML"),
        ("kind: !!timestamp x", "is not YAML"),
        ("kind: ServedModel\n", r"apiVersion: write tfserving\.dev/v1alpha1"),
        ("apiVersion: tfserving.dev/v1alpha1\nkind: ServedModel\n", r"spec\.models: it is missing"),
        (SERVED.format(name="a").replace("v1alpha1", "v1"), r"apiVersion: write tfserving\.dev/v1alpha1"),
        (SERVED.format(name="A_b"), r"metadata\.name: it must match"),
        (SERVED.format(name="7"), r"metadata\.name: it must match"),
        (SERVED.format(name="a").replace("shop", "a.b"), r"metadata\.namespace: it must match"),
        (
            SERVED.format(name="a") + "  replica: 2\n  replicas: two\n",
            r"spec\.replicas: write a whole number.*; spec\.replica: there is no such field \(is replicas meant\?\)",
        ),
        (SERVED.format(name="a") + "  autoscaling: {mode: Off}\n", r"spec\.autoscaling\.mode: write a text, in quotes"),
        (
            SERVED.format(name="a") + "  pools: [{name: a, replicas: {max: '20'}}]\n",
            r"spec\.pools\.0\.replicas\.max: write a whole number, without quotes",
        ),
        (SERVED.format(name="a") + "  replicas: true\n", r"spec\.replicas: write a whole number"),
        (SERVED.format(name="a") + "  pools: {name: a}\n", r"spec\.pools: write a list"),
        (SERVED.format(name="a") + "  pools: [{name: a, podLabels: {1: b}}]\n", r"the key 1 must be a text"),
        (SERVED.format(name="a") + "  pools: [{name: a}, {name: a}]\n", r"spec\.pools: a is in it 2 times"),
        (SERVED.format(name="a") + "  replicas: 2\n  replicas: 3\n", "the key 'replicas' stands 2 times in a mapping"),
        (SERVED.format(name="a").replace("spec:", "spec: [1]\nnone:"), r"spec: write a mapping"),
        (SERVED.format(name="a") + "  autoscaling: {mode: On}\n", r"spec\.autoscaling\.mode"),
        (SERVED.format(name="a") + "  autoscaling: {mode: Auto, objective: {latency: 5 minutes}}\n", "latency"),
        (SERVED.format(name="a") + "  replicas: -1\n", r"spec\.replicas"),
        (SERVED.format(name="a") + f"  pools: [{', '.join(['{}'] * 8)}]\n", "and 3 more"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=words) as refused:
        read_manifest(write(tmp_path, text))
    assert "\n" not in str(refused.value)


def test_a_name_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no ServedModel z in"):
        read_manifest(write(tmp_path, SERVED.format(name="a")), name="z")


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path, words in (("none", "No such file"), (".", "Is a directory"), ("binary", "not a text file")):
        with pytest.raises(ManifestError, match=words):
            read_manifest(str(tmp_path / path))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("extra: 1\n", "extra: there is no such field: a ServedModel has metadata and spec"),
        ("  replica: 2\n", "spec.replica: there is no such field (is replicas meant?)"),
        (
            "  pools: [{name: a, replicas: {max: 4, mox: 5}}]\n",
            "spec.pools.0.replicas.mox: there is no such field (is max meant?)",
        ),
        (
            "  autoscaling: {mode: Auto, objective: {latency: 50ms}, stable_window_seconds: 9}\n",
            "spec.autoscaling.stable_window_seconds: there is no such field (is stableWindowSeconds meant?)",
        ),
    ],
    ids=["at the top", "in spec", "in a list", "the name of another language"],
)
def test_a_field_that_there_is_not_is_left_out_and_told_of(tmp_path: Path, more: str, said: str) -> None:
    manifest = read_manifest(write(tmp_path, SERVED.format(name="a") + more))
    assert manifest.left_out == (f"{said}, so it is left out, which kubectl apply refuses",)
    assert manifest.spec.replicas == 1
    if manifest.spec.autoscaling is not None:
        assert manifest.spec.autoscaling.stable_window_seconds == 60
