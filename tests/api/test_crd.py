from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.api.crd_schema import CRD, FIELDS, ROOT, Schema
from tfserving_operator.api.crd import render_crd

REPOSITORY = Path(__file__).resolve().parents[2]
KNOWN_WORDS = {
    *("description", "type", "format", "default", "enum", "required", "properties", "items"),
    *("additionalProperties", "pattern", "minimum", "maximum", "exclusiveMinimum"),
    *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
    *("x-kubernetes-int-or-string", "x-kubernetes-list-map-keys", "x-kubernetes-list-type"),
    *("x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations"),
}
RULES = [(path, rule) for path, schema in [("", ROOT), *FIELDS] for rule in schema.get("x-kubernetes-validations", [])]


# A server may call a version anything of 64 bits, which the format says.
ANY_INT64 = "status.models[].versions[]"


def _is_bounded(schema: Schema) -> bool:
    if schema.get("x-kubernetes-int-or-string"):
        return "maxLength" in schema
    match schema["type"]:
        case "string":
            return bool({"maxLength", "enum", "format"} & schema.keys())
        case "array":
            return "maxItems" in schema
        case "object" if "additionalProperties" in schema:
            return "maxProperties" in schema
        case "integer":
            return "minimum" in schema or "x-kubernetes-validations" in schema
        case _:
            return True


def test_every_field_is_described() -> None:
    # The items of a list of scalars are described by the list.
    undescribed = [path for path, schema in FIELDS if not schema.get("description") and path[-1] not in "]}"]
    assert undescribed == []


def test_every_description_is_a_sentence() -> None:
    assert [path for path, schema in FIELDS if not schema.get("description", ".").endswith((".", ")"))] == []


def test_every_text_list_map_and_number_is_bounded() -> None:
    assert [path for path, schema in FIELDS if not _is_bounded(schema)] == [ANY_INT64]


def test_every_list_says_how_it_is_merged() -> None:
    merged = {path: schema.get("x-kubernetes-list-type") for path, schema in FIELDS if schema.get("type") == "array"}
    assert set(merged.values()) == {"map", "set", "atomic"}


def test_lists_of_named_objects_are_merged_by_name() -> None:
    unmerged = [
        path
        for path, schema in FIELDS
        if schema.get("type") == "array"
        and "name" in schema["items"].get("required", [])
        and schema.get("x-kubernetes-list-map-keys") != ["name"]
    ]
    assert unmerged == []


def test_only_words_that_kubernetes_knows_are_used() -> None:
    assert {word for _, schema in FIELDS for word in schema} <= KNOWN_WORDS


def test_defaults_are_scalars_where_a_merge_would_keep_them() -> None:
    defaults = {path: schema["default"] for path, schema in FIELDS if isinstance(schema.get("default"), dict | list)}
    assert defaults == {"spec.server": {"image": "tensorflow/serving:2.20.0"}}


def test_every_rule_says_what_to_write_in_one_line() -> None:
    bad = [
        path
        for path, rule in RULES
        if not 15 < len(rule["message"]) < 300 or "\n" in rule["message"] or rule["message"].endswith(".")
    ]
    assert bad == []
    assert len(RULES) > 50


def _zero_values(path: str, value: Any) -> Iterator[str]:
    # A default may well be a zero value, and the status subresource is an empty object.
    if path.endswith((".default", ".subresources.status", ".minimum")):
        return
    if value is None or value is False or value in ("", 0) or value == [] or value == {}:
        yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from _zero_values(f"{path}.{key}", child)


def test_nothing_is_stated_that_the_api_server_drops() -> None:
    assert list(_zero_values("", CRD)) == []


def test_the_crd_is_small_enough_for_client_side_apply() -> None:
    assert len(json.dumps(CRD)) < 200_000


def test_yaml_has_no_anchors_and_reads_back() -> None:
    text = render_crd()
    assert yaml.safe_load(text) == CRD
    assert not re.search(r"^\s*(\S+: )?[&*]id\d", text, re.MULTILINE)


def test_argo_applies_it_server_side() -> None:
    assert CRD["metadata"]["annotations"] == {"argocd.argoproj.io/sync-options": "ServerSideApply=true"}


@pytest.mark.parametrize("column", CRD["spec"]["versions"][0]["additionalPrinterColumns"], ids=lambda c: c["name"])
def test_every_column_shows_a_field_that_exists(column: dict[str, Any]) -> None:
    path = re.sub(r"\[\?.*?\]", "[]", column["jsonPath"]).removeprefix(".")
    assert path in {known for known, _ in FIELDS} | {"metadata.creationTimestamp"}


def test_the_generated_files_are_up_to_date() -> None:
    check = subprocess.run(
        [sys.executable, REPOSITORY / "scripts" / "generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stdout + check.stderr


def test_every_rule_has_a_manifest_that_it_refuses() -> None:
    manifests = yaml.safe_load((REPOSITORY / "e2e/scenarios/api_admission.yaml").read_text())
    cases = manifests["refused"] + manifests["changes_refused"]
    said = "\n".join(text for case in cases for text in case["says"])
    assert sorted({rule["message"] for _, rule in RULES if rule["message"] not in said}) == []
