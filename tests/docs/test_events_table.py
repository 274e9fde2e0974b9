"""The table of events in docs/troubleshooting.md has the words that the code publishes, and no others."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

from tfserving_operator.reconcile import actor, report
from tfserving_operator.resources.names import container_name

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "troubleshooting.md").read_text()
WORD = re.compile(r"[A-Z][a-z]+([A-Z][a-z]+)*")
NO_WORDS_OF_EVENTS = {"Normal", "Warning", "ConfigMap", "Deployment"}


def words_in(module: ModuleType) -> set[str]:
    """Return the constants of a module that are one word as reasons and actions are."""
    nodes = ast.walk(ast.parse(inspect.getsource(module)))
    constants = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {word for word in constants if WORD.fullmatch(word)} - NO_WORDS_OF_EVENTS


def rows() -> list[tuple[set[str], set[str]]]:
    """Reasons and actions of each row; rows of conditions and rules name no reason."""
    (section,) = re.findall(r"^## Events\n(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)
    found = re.findall(r"^\| ([^|]+) \| ([^|]+) \| [^|]+ \|$", section, re.MULTILINE)[2:]
    return [(set(re.findall(r"`(\w+)`", reason)), set(re.findall(r"`(\w+)`", action))) for reason, action in found]


def actions() -> set[str]:
    return set().union(*(row[1] for row in rows()))


@pytest.mark.parametrize("module", [actor, report], ids=lambda module: str(module.__name__).rpartition(".")[2])
def test_every_event_that_is_published_has_a_row(module: ModuleType) -> None:
    assert words_in(module) <= {word for reasons, acts in rows() for word in reasons | acts}


def test_every_row_is_of_an_event_that_is_published() -> None:
    assert {word for reasons, acts in rows() for word in reasons | acts} == words_in(actor) | words_in(report)


def test_the_container_that_copies_a_model_is_called_as_the_page_says() -> None:
    assert f"a model `My_Model` is copied by `{container_name('fetch', 'My_Model')}`" in PAGE
