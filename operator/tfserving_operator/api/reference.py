"""docs/api.md: the reference of every field and word, written from the CRD that users install."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tfserving_operator.api.conditions import ConditionType, DocumentedWord, Reason

Schema = dict[str, Any]

_INTRODUCTION = """\
<!-- Generated from operator/tfserving_operator/api by `make generate`. Do not edit. -->
# API reference

`apiVersion: tfserving.dev/v1alpha1`, `kind: ServedModel` (short name `sm`, category `all`).
The same text is in the cluster: `kubectl explain servedmodel.spec --recursive`.

- A field marked *required* must be there; every other one may be left out.
- Lists marked *by name* are merged by name in server-side apply, so that several owners can share one.
- Nothing in the spec is fixed after creation. What a running server can take up (versions and labels of models
  that are mounted, replicas) rolls no pods; any other change rolls the pods of the pools that it concerns. One
  change is refused because it would do nothing: scaling where every pool fixes its replicas.
- `metadata.name` and pool names are in the names of what the operator makes (`NAME-POOL-headless`), so their
  length is bounded.
"""


def render_reference(crd: dict[str, Any]) -> str:
    """Return docs/api.md for ``crd``, as ``build_crd`` makes it."""
    version = crd["spec"]["versions"][0]
    root = version["schema"]["openAPIV3Schema"]
    parts = [
        _INTRODUCTION,
        _rules("## ServedModel", root),
        *_sections("spec", root["properties"]["spec"], {}),
        *_sections("status", root["properties"]["status"], {}),
        _words("## Conditions", "Type", ConditionType),
        _words("## Reasons", "Reason", Reason),
        "What to do about each: [troubleshooting](troubleshooting.md).\n",
        _columns(version["additionalPrinterColumns"]),
    ]
    return "\n".join(parts)


def _sections(path: str, schema: Schema, written: dict[str, str]) -> Iterator[str]:
    """One section for each object below ``path`` that has fields of its own, parents first.

    ``written`` keeps the fields that have a section by where it is, so that none is written twice.
    """
    properties: dict[str, Schema] = schema["properties"]
    header = f"## {path}\n\n{_plain(schema['description'])}\n"
    fields = str(properties)
    if fields in written:
        yield f"{header}\nFields and rules are those of [{written[fields]}](#{_anchor(written[fields])}).\n"
        return
    written[fields] = path
    required = set(schema.get("required", []))
    rows = [_row(path, name, child, is_required=name in required) for name, child in properties.items()]
    table = "| Field | Type | Default | Bounds | Description |\n| --- | --- | --- | --- | --- |\n"
    yield f"{header}\n{table}" + "\n".join(rows) + "\n" + _rule_list(schema)
    for name, child in properties.items():
        suffix, inner = _element(child)
        if "properties" in inner:
            yield from _sections(f"{path}.{name}{suffix}", inner, written)


def _anchor(path: str) -> str:
    """What GitHub makes of the heading of ``path``."""
    return "".join(letter for letter in path.lower() if letter.isalnum())


def _element(schema: Schema) -> tuple[str, Schema]:
    """What a list or map holds, and how a path to it is written."""
    if schema.get("type") == "array":
        return "[]", schema["items"]
    if "additionalProperties" in schema:
        return "{}", schema["additionalProperties"]
    return "", schema


def _row(path: str, name: str, schema: Schema, *, is_required: bool) -> str:
    default = "*required*" if is_required else f"`{_yaml(schema['default'])}`" if "default" in schema else ""
    suffix, inner = _element(schema)
    has_section = "properties" in inner
    rules = [] if has_section else [*_own_rules(schema), *(_own_rules(inner) if suffix else [])]
    description = " ".join([schema["description"], *(f"Rule: {rule['message']}." for rule in rules)])
    kind = f"[{_type(schema)}](#{_anchor(f'{path}.{name}')})" if has_section else _type(schema)
    cells = [f"`{name}`", kind, default, _bounds(schema), _plain(description)]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _plain(text: str) -> str:
    """``text`` so that Markdown leaves it alone."""
    return text.replace("*", "\\*").replace("<", "&lt;")


def _own_rules(schema: Schema) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = schema.get("x-kubernetes-validations", [])
    return rules


def _type(schema: Schema) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        return "integer or string"
    if schema["type"] == "array":
        merged = {"map": ", by name", "set": ", unique"}.get(schema["x-kubernetes-list-type"], "")
        if keys := schema.get("x-kubernetes-list-map-keys"):
            merged = f", by {' and '.join(keys)}"
        return f"list of {_type(schema['items'])}{merged}"
    if "additionalProperties" in schema:
        return f"map to {_type(schema['additionalProperties'])}"
    if "enum" in schema:
        return "one of " + ", ".join(f"`{_yaml(word)}`" for word in schema["enum"])
    return str(schema.get("format", schema["type"]) if schema["type"] == "string" else schema["type"])


def _bounds(schema: Schema) -> str:
    suffix, inner = _element(schema)
    bounds = list(_own_bounds(schema))
    if suffix and "properties" not in inner:
        bounds += [f"each {bound}" for bound in _own_bounds(inner)]
    return "; ".join(bounds)


def _own_bounds(schema: Schema) -> Iterator[str]:
    if "minimum" in schema or "maximum" in schema:
        lowest = schema.get("minimum", "")
        above = "above " if schema.get("exclusiveMinimum") else ""
        yield f"{above}{lowest}..{schema.get('maximum', '')}"
    for word, unit in (("Length", "characters"), ("Items", "items"), ("Properties", "entries")):
        least, most = schema.get(f"min{word}", 0), schema.get(f"max{word}")
        if most is not None:
            yield f"{least}..{most} {unit}" if least else f"at most {most} {unit}"
    if "pattern" in schema:
        yield f"`{schema['pattern']}`"


def _rule_list(schema: Schema) -> str:
    rules = [f"- {_plain(rule['message'])}" for rule in _own_rules(schema)]
    return "\nRefused with these words:\n\n" + "\n".join(rules) + "\n" if rules else ""


def _rules(heading: str, schema: Schema) -> str:
    return f"{heading}\n\n{schema['description']}\n{_rule_list(schema)}"


def _words(heading: str, column: str, words: type[DocumentedWord]) -> str:
    rows = [f"| `{word.value}` | {word.meaning} |" for word in words]
    return f"{heading}\n\n| {column} | Meaning |\n| --- | --- |\n" + "\n".join(rows) + "\n"


def _columns(columns: list[dict[str, Any]]) -> str:
    rows = [
        f"| {column['name'].upper()} | {'`-o wide`' if column.get('priority') else 'always'} "
        f"| {column['description']} |"
        for column in columns
    ]
    return "## Columns of `kubectl get`\n\n| Column | Shown | Meaning |\n| --- | --- | --- |\n" + "\n".join(rows) + "\n"


def _yaml(value: Any) -> str:
    """``value`` as one would write it in a manifest, on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(item)}" for key, item in value.items()) + "}"
    return str(value)
