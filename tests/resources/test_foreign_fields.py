from __future__ import annotations

from typing import Any

import pytest

from tfserving_operator.resources.foreign_fields import telling_managed_fields, without_foreign_fields

OWN = {
    "manager": "tfserving-operator",
    "operation": "Apply",
    "fieldsV1": {"f:spec": {"f:containers": {'k:{"name":"a"}': {".": {}, "f:image": {}}}, "f:replicas": {}}},
}


def live(spec: dict[str, Any], foreign: dict[str, Any], *, subresource: str = "") -> dict[str, Any]:
    entry = {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:spec": foreign}}
    return {
        "metadata": {
            "name": "x",
            "managedFields": [OWN, entry | ({"subresource": subresource} if subresource else {})],
        },
        "spec": spec,
    }


@pytest.mark.parametrize(
    ("spec", "foreign", "left"),
    [
        ({"replicas": 1, "paused": True}, {"f:paused": {}}, {"replicas": 1}),
        (
            {"containers": [{"name": "a"}, {"name": "b"}]},
            {"f:containers": {'k:{"name":"b"}': {".": {}, "f:name": {}}}},
            {"containers": [{"name": "a"}]},
        ),
        (
            {"containers": [{"name": "a", "image": "i", "tty": True}]},
            {"f:containers": {'k:{"name":"a"}': {"f:tty": {}}}},
            {"containers": [{"name": "a", "image": "i"}]},
        ),
        ({"set": ["x", "y"]}, {"f:set": {'v:"x"': {}}}, {"set": ["y"]}),
        ({"own": 1, "map": {"x": 1}}, {"f:map": {".": {}, "f:x": {}}}, {"own": 1}),
    ],
)
def test_additions_go_and_the_rest_stays(spec: dict[str, Any], foreign: dict[str, Any], left: dict[str, Any]) -> None:
    stripped = without_foreign_fields(live(spec, foreign))
    assert stripped is not None
    assert stripped["spec"] == left


@pytest.mark.parametrize(
    "obj",
    [
        pytest.param({"metadata": {"name": "x", "managedFields": [OWN]}, "spec": {}}, id="only us"),
        pytest.param(live({"replicas": 3}, {"f:replicas": {}}), id="a value of ours: apply takes it back"),
        pytest.param(live({"x": 1}, {"f:x": {}}, subresource="status"), id="a subresource"),
        pytest.param({"metadata": {"name": "x"}, "spec": {}}, id="no ownership recorded"),
    ],
)
def test_nothing_foreign_is_nothing_to_do(obj: dict[str, Any]) -> None:
    assert without_foreign_fields(obj) is None


def test_ownership_is_kept_only_where_somebody_else_is_in_it() -> None:
    assert telling_managed_fields({"metadata": {"managedFields": [OWN]}}) == []
    assert len(telling_managed_fields(live({}, {"f:paused": {}}))) == 2
