from __future__ import annotations

from typing import Any

import jsonschema  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest
from hypothesis import HealthCheck, given, settings
from pydantic import ValidationError

from tests.api.crd_schema import ROOT, values
from tfserving_operator.api.base import ApiModel
from tfserving_operator.api.servedmodel import ServedModelSpec, ServedModelStatus
from tfserving_operator.api.server import duration_micros

SPEC, STATUS = ROOT["properties"]["spec"], ROOT["properties"]["status"]
# Large objects are what is wanted here; drawing them takes its time.
THOROUGH = settings(max_examples=150, suppress_health_check=list(HealthCheck))


def _written(model: ApiModel) -> dict[str, Any]:
    return model.model_dump(by_alias=True, exclude_unset=True, mode="json")


@THOROUGH
@given(values(SPEC))
def test_every_spec_that_the_schema_allows_is_read_and_written_back_unchanged(spec: dict[str, Any]) -> None:
    assert _written(ServedModelSpec.model_validate(spec)) == spec


@THOROUGH
@given(values(STATUS))
def test_every_status_that_the_schema_allows_is_read_and_written_back_unchanged(status: dict[str, Any]) -> None:
    assert _written(ServedModelStatus.model_validate(status)) == status


@THOROUGH
@given(values(SPEC))
def test_what_is_written_with_its_defaults_is_allowed_by_the_schema(spec: dict[str, Any]) -> None:
    complete = ServedModelSpec.model_validate(spec).model_dump(by_alias=True, exclude_none=True, mode="json")
    jsonschema.Draft4Validator(SPEC).validate(complete)


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({}, id="no models"),
        pytest.param({"models": []}, id="empty models"),
        pytest.param({"models": [{"name": "a/b", "source": {"uri": "s3://b/m"}}]}, id="pattern"),
        pytest.param({"models": [{"name": "m", "source": {"uri": "ftp://b/m"}}]}, id="scheme"),
        pytest.param({"models": [{"name": "m", "source": {"uri": "s3://b/m"}}], "replicas": -1}, id="minimum"),
        pytest.param({"models": [{"name": "m", "source": {"uri": "s3://b/m"}}], "pools": []}, id="no pools"),
        pytest.param(
            {"models": [{"name": "m", "source": {"uri": "s3://b/m"}}], "pools": [{"name": "a" * 21}]}, id="length"
        ),
    ],
)
def test_schema_and_model_refuse_the_same(broken: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ServedModelSpec.model_validate(broken)
    assert not jsonschema.Draft4Validator(SPEC).is_valid(broken)


def test_fields_of_a_newer_version_are_ignored() -> None:
    spec = {"models": [{"name": "m", "source": {"uri": "s3://b/m"}, "new": 1}], "newer": {}}
    assert "newer" not in _written(ServedModelSpec.model_validate(spec))


def test_what_is_left_out_is_one_cpu_pool_with_the_latest_version() -> None:
    spec = ServedModelSpec.model_validate({"models": [{"name": "m", "source": {"uri": "s3://b/m"}}]})
    assert [pool.name for pool in spec.pools] == ["default"]
    assert spec.models[0].versions.latest == 1
    assert spec.batching is None


@pytest.mark.parametrize(
    ("duration", "micros"), [("0s", 0), ("500us", 500), ("5ms", 5_000), ("1s", 1_000_000), ("007ms", 7_000)]
)
def test_a_duration_is_read_in_microseconds(duration: str, micros: int) -> None:
    assert duration_micros(duration) == micros


@pytest.mark.parametrize("text", ["", "5", "ms", "1.5s", "-1s", "1m", "1 s", "1s\n", "1S"])
def test_no_other_duration_is_read(text: str) -> None:
    with pytest.raises(ValueError, match="write for example 500us, 5ms or 1s"):
        duration_micros(text)
