"""What the pages show is valid, and where they point exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tfserving_operator.api.servedmodel import API_VERSION, KIND, ServedModelSpec

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    page for page in ROOT.rglob("*.md") if not any(part.startswith(".") for part in page.relative_to(ROOT).parts)
)
FENCE = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
HERE_DOCUMENT = re.compile(r"<<'YAML'\n(.*?)^YAML$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
MAKE = re.compile(r"(?:^|`|&& )make ((?:[a-z][a-z0-9-]*)(?: [a-z][a-z0-9-]*)*)", re.MULTILINE)


def shown_manifests() -> list[Any]:
    texts = [(page, block) for page in PAGES for block in FENCE.findall(page.read_text())]
    texts = [(page, piece) for page, block in texts for piece in HERE_DOCUMENT.findall(block) or [block]]
    texts += [(file, file.read_text()) for file in sorted((ROOT / "examples").glob("*.yaml"))]
    return [
        pytest.param(document, id=f"{file.relative_to(ROOT)}:{document['metadata']['name']}")
        for file, text in texts
        if f"kind: {KIND}\n" in text
        for document in yaml.safe_load_all(text)
        if document["kind"] == KIND
    ]


@pytest.mark.parametrize("manifest", shown_manifests())
def test_every_servedmodel_that_is_shown_is_one(manifest: dict[str, Any]) -> None:
    assert manifest["apiVersion"] == API_VERSION
    ServedModelSpec.model_validate(manifest["spec"])


def test_the_readme_and_the_quickstart_are_among_those_checked() -> None:
    names = {parameters.id for parameters in shown_manifests()}
    assert {"README.md:digits", "examples/quickstart.yaml:digits"} <= names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    broken = []
    for link in LINK.findall(CODE.sub("", FENCE.sub("", page.read_text()))):
        path, _, anchor = link.partition("#")
        if ":" in path:
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        target
        for page in PAGES
        for block in re.findall(r"```sh\n.*?^```|`make [^`]+`", page.read_text(), re.MULTILINE | re.DOTALL)
        for targets_named in MAKE.findall(block)
        for target in targets_named.split()
    }
    assert named >= {"demo", "test-unit"}
    assert named <= targets
