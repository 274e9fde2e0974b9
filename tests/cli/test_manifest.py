from __future__ import annotations

import io
from pathlib import Path

import pytest

from tfserving_operator.cli.manifest import ManifestError, read_manifest

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
            '{"kind": "List", "items": [{"kind": "ServedModel", "metadata": {"name": "a", "namespace": "shop"}, '
            '"spec": {"models": [{"name": "m", "source": {"uri": "s3://b/m"}}]}, "status": {}}]}',
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
    with pytest.raises(ManifestError, match=r"3 ServedModels in .*m\.yaml \(a, b, c\): choose one with --name"):
        read_manifest(path)


def test_names_are_not_needed(tmp_path: Path) -> None:
    it = read_manifest(write(tmp_path, "kind: ServedModel\nspec: {models: [{name: m, source: {uri: 's3://b/m'}}]}"))
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
        ("kind: ServedModel\n", r"spec\.models: Field required"),
        ("kind: ServedModel\nspec: [1]\n", "is not valid"),
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
