from __future__ import annotations

import re

import pytest

from tests.api.crd_schema import CRD, FIELDS
from tfserving_operator.api.conditions import ConditionType, DocumentedWord, Reason
from tfserving_operator.api.reference import render_reference

REFERENCE = render_reference(CRD)
HEADINGS = re.findall(r"^## (.+)$", REFERENCE, re.MULTILINE)


def test_every_field_has_a_row() -> None:
    fields = {path.rpartition(".")[2].rstrip("[]{}") for path, _ in FIELDS} - {"spec", "status"}
    assert sorted(field for field in fields if f"| `{field}` |" not in REFERENCE) == []


def test_every_object_with_fields_has_a_section() -> None:
    # An object that is used in several places has its fields listed in the first.
    objects = {path: str(schema["properties"]) for path, schema in FIELDS if "properties" in schema}
    listed = {fields for path, fields in objects.items() if path in HEADINGS}
    assert [path for path, fields in objects.items() if fields not in listed] == []


def test_every_link_leads_to_a_section() -> None:
    anchors = {re.sub(r"[^a-z0-9]", "", heading.lower()) for heading in HEADINGS}
    links = set(re.findall(r"\]\(#([^)]*)\)", REFERENCE))
    assert len(links) > 20
    assert links <= anchors


def test_every_row_of_a_table_has_its_cells() -> None:
    rows = [line for line in REFERENCE.splitlines() if line.startswith("| `") and line.count(" | ") > 2]
    assert {len(re.split(r"(?<!\\)\|", row)) for row in rows} == {7}


@pytest.mark.parametrize("word", [*Reason, *ConditionType], ids=str)
def test_every_word_of_the_conditions_is_explained(word: DocumentedWord) -> None:
    assert f"| `{word.value}` | {word.meaning} |" in REFERENCE
