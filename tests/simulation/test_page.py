"""docs/simulate.md names what there is, and shows what works."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import BaseModel

from tests.simulation.scenes import steady, world
from tfserving_operator.cli.simulate import simulate
from tfserving_operator.simulation.comparison import PolicyName, compare
from tfserving_operator.simulation.prepare import MOST_REQUESTS, PEAK_SHARE
from tfserving_operator.simulation.report import as_json
from tfserving_operator.simulation.scenario import PoolScenario, Scenario, VaryingTime
from tfserving_operator.simulation.trace import parse_trace

PAGE = (Path(__file__).resolve().parents[2] / "docs/simulate.md").read_text()
CODE = set(re.findall(r"`([^`\n]+)`", PAGE))


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield the fields of a part of a scenario by their path; a time that varies is one."""
    for name, field in model.model_fields.items():
        path = f"{prefix}{field.alias or name}"
        kinds = [kind for kind in (field.annotation, *get_args(field.annotation)) if isinstance(kind, type)]
        parts = [kind for kind in kinds if issubclass(kind, BaseModel) and kind not in (VaryingTime, PoolScenario)]
        if parts and path != "objective":
            yield from leaves(parts[0], f"{path}.")
        else:
            yield path


@pytest.mark.parametrize("path", [*leaves(Scenario), *leaves(PoolScenario)])
def test_every_field_of_a_scenario_is_listed(path: str) -> None:
    short = path.rsplit(".", 1)[-1]
    assert {path, short, f"{path}[]"} & CODE


def test_the_scenario_that_is_shown_is_one() -> None:
    shown = [yaml.safe_load(block) for block in blocks("yaml") if "batchCost" in block]
    assert shown
    for content in shown:
        assert Scenario.model_validate(content).pools[0].batch_cost is not None


def test_the_trace_that_is_shown_is_one() -> None:
    (shown,) = blocks("csv")
    assert parse_trace(shown.splitlines(keepends=True), name="shown").gpus_available is not None


@pytest.mark.parametrize("name", PolicyName)
def test_every_policy_is_explained(name: PolicyName) -> None:
    assert name.value in CODE


def test_every_option_is_named() -> None:
    options = {option for parameter in simulate.params for option in parameter.opts if option.startswith("--")}
    assert {option for option in options if option not in PAGE} == {"--output"}


def test_every_field_of_the_json_is_listed() -> None:
    document = json.loads(as_json(compare(steady(5, 60), world(), [PolicyName.FIXED])))
    numbers = document.pop("policies")["Fixed"]
    fields = [f"{part}.{name}" for part, content in document.items() for name in content]
    assert [name for name in fields if name not in CODE] == []
    assert [name for name in numbers if not {f".{name}", f"policies.NAME.{name}"} & CODE] == []


def test_numbers_that_are_said_are_those_that_count() -> None:
    defaults = Scenario()
    assert f"{MOST_REQUESTS // 1_000_000} million requests" in PAGE
    assert f"{PEAK_SHARE:.0%} of the most" in " ".join(PAGE.split())
    assert f"| `tickSeconds` | {defaults.tick_seconds:g} |" in PAGE
    assert f"| `scraping.intervalSeconds` | {defaults.scraping.interval_seconds:g} |" in PAGE
    assert f"| `scraping.delaySeconds` | {defaults.scraping.delay_seconds:g} |" in PAGE
    assert f"| `clientTimeout` | {defaults.client_timeout} |" in PAGE
    assert f"| `loadBalancing` | `{defaults.load_balancing}` |" in PAGE
