"""The Kubernetes client: what it sends, and what it makes of the answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prometheus_client import REGISTRY

from tests.clients.conftest import Answer, FakeApiServer, failure
from tfserving_operator.api.refs import ObjectRef
from tfserving_operator.clients.errors import (
    Cause,
    ClientError,
    Conflict,
    Gone,
    NotFound,
    Rejected,
    Unavailable,
)
from tfserving_operator.clients.kinds import PODS, SERVED_MODELS
from tfserving_operator.clients.kube import KubeClient, WatchEvent

DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"namespace": "ns", "name": "d"},
    "spec": {"replicas": 1},
}
REF = ObjectRef("apps/v1", "Deployment", "ns", "d")
OK = Answer(200, {**DEPLOYMENT, "metadata": {**DEPLOYMENT["metadata"], "uid": "u"}})  # type: ignore[dict-item]

CONFLICT_OF_MANAGERS = failure(
    409,
    'Apply failed with 1 conflict: conflict with "kubectl" using apps/v1: .spec.replicas',
    reason="Conflict",
    causes=[
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "kubectl" using apps/v1',
            "field": ".spec.replicas",
        }
    ],
)
MODIFIED_MEANWHILE = failure(
    409,
    'Operation cannot be fulfilled on deployments.apps "d": the object has been modified; please apply your '
    "changes to the latest version and try again",
    reason="Conflict",
)
INVALID = failure(
    422,
    'Deployment.apps "d" is invalid: spec.replicas: Invalid value: -1: must be at least 0',
    reason="Invalid",
    causes=[
        {
            "reason": "FieldValueInvalid",
            "message": "Invalid value: -1: must be at least 0",
            "field": "spec.replicas",
        }
    ],
)
QUOTA = failure(403, 'configmaps "c" is forbidden: exceeded quota: q', reason="Forbidden")
TERMINATING = failure(
    403,
    'services "s" is forbidden: unable to create new content in namespace ns because it is being terminated',
    reason="Forbidden",
    causes=[{"reason": "NamespaceTerminating", "message": "namespace ns is being terminated", "field": "metadata"}],
)
UNDECLARED_FIELD = failure(
    500, "failed to create typed patch object (ns/d): .spec.nonsense: field not declared in schema"
)


async def test_apply_is_server_side_and_forced_with_one_field_manager(
    kube: KubeClient, api_server: FakeApiServer
) -> None:
    api_server.answer(OK)

    live = await kube.apply(DEPLOYMENT)

    [request] = api_server.requests
    assert live == OK.body
    assert (request.method, request.path) == ("PATCH", "/apis/apps/v1/namespaces/ns/deployments/d")
    assert request.query == {
        "fieldManager": "tfserving-operator",
        "force": "true",
        "fieldValidation": "Strict",
    }
    assert request.headers["Content-Type"] == "application/apply-patch+yaml"
    assert request.body == DEPLOYMENT


async def test_status_is_applied_to_the_subresource(kube: KubeClient, api_server: FakeApiServer) -> None:
    api_server.answer(OK)

    await kube.apply_status(DEPLOYMENT)

    assert api_server.requests[0].path.endswith("/deployments/d/status")


@pytest.mark.parametrize(
    ("answer", "error_type", "attributes"),
    [
        pytest.param(CONFLICT_OF_MANAGERS, Conflict, {"field_managers": ("kubectl",)}, id="field owned by another"),
        pytest.param(MODIFIED_MEANWHILE, Conflict, {"field_managers": ()}, id="modified meanwhile"),
        pytest.param(
            INVALID,
            Rejected,
            {
                "reason": "Invalid",
                "causes": (Cause("spec.replicas", "Invalid value: -1: must be at least 0"),),
            },
            id="invalid",
        ),
        pytest.param(QUOTA, Rejected, {"reason": "Forbidden", "causes": ()}, id="quota"),
        pytest.param(UNDECLARED_FIELD, Rejected, {"reason": "Invalid"}, id="undeclared field answered as 500"),
        pytest.param(failure(404, 'namespaces "ns" not found', reason="NotFound"), NotFound, {}, id="not found"),
        pytest.param(TERMINATING, NotFound, {}, id="the namespace is on its way out"),
        pytest.param(failure(503, "etcd leader changed"), Unavailable, {"retry_after_seconds": None}, id="away"),
        pytest.param(
            failure(429, "too many requests", retryAfterSeconds=30),
            Unavailable,
            {"retry_after_seconds": 30.0},
            id="busy for long",
        ),
    ],
)
async def test_error_answers_are_translated_with_the_servers_own_words(
    kube: KubeClient,
    api_server: FakeApiServer,
    answer: Answer,
    error_type: type[ClientError],
    attributes: dict[str, Any],
) -> None:
    api_server.answer(answer)

    with pytest.raises(error_type) as caught:
        await kube.apply(DEPLOYMENT, force=False)

    assert str(caught.value) == answer.body["message"]
    assert {name: getattr(caught.value, name) for name in attributes} == attributes


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(Answer(429, {}, {"Retry-After": "0"}), id="busy"),
        pytest.param(failure(500, "etcdserver: request timed out"), id="server error"),
        pytest.param(Answer(502, b"<html>bad gateway</html>"), id="proxy error"),
        pytest.param(Answer(drop=True), id="connection dropped"),
        pytest.param(MODIFIED_MEANWHILE, id="written at the same moment"),
    ],
)
async def test_passing_trouble_is_tried_again(kube: KubeClient, api_server: FakeApiServer, first: Answer) -> None:
    api_server.answer(first, OK)

    assert await kube.apply(DEPLOYMENT) == OK.body
    assert len(api_server.requests) == 2


async def test_a_long_retry_after_is_left_to_the_caller(kube: KubeClient, api_server: FakeApiServer) -> None:
    api_server.answer(Answer(429, {"message": "later"}, {"Retry-After": "60"}))

    with pytest.raises(Unavailable, match="later") as caught:
        await kube.apply(DEPLOYMENT)

    assert caught.value.retry_after_seconds == 60
    assert len(api_server.requests) == 1


async def test_lasting_trouble_ends_in_unavailable(kube: KubeClient, api_server: FakeApiServer) -> None:
    api_server.answer(Answer(503, b"no endpoints"))

    with pytest.raises(Unavailable, match="no endpoints"):
        await kube.apply(DEPLOYMENT)

    assert len(api_server.requests) > 1


@pytest.mark.parametrize("answer", [INVALID, QUOTA, CONFLICT_OF_MANAGERS], ids=["invalid", "quota", "conflict"])
async def test_a_refusal_is_not_tried_again(kube: KubeClient, api_server: FakeApiServer, answer: Answer) -> None:
    api_server.answer(answer)

    with pytest.raises(ClientError):
        await kube.apply(DEPLOYMENT, force=False)

    assert len(api_server.requests) == 1


async def test_a_server_that_says_nothing_is_unavailable(kube: KubeClient, api_server: FakeApiServer) -> None:
    api_server.answer(Answer(body=b"{", hang=True))

    with pytest.raises(Unavailable):
        await kube.get(REF)


async def test_expired_credentials_are_loaded_again(kube: KubeClient, api_server: FakeApiServer) -> None:
    api_server.tokens = ["old", "new"]
    api_server.answer(failure(401, "Unauthorized", reason="Unauthorized"), OK)

    assert await kube.get(REF) == OK.body
    assert [request.headers["Authorization"] for request in api_server.requests] == ["bearer old", "bearer new"]


async def test_wrong_credentials_are_rejected_not_retried_for_ever(kube: KubeClient, api_server: FakeApiServer) -> None:
    api_server.answer(failure(401, "Unauthorized", reason="Unauthorized"))

    with pytest.raises(Rejected) as caught:
        await kube.get(REF)

    assert caught.value.reason == "Unauthorized"
    assert len(api_server.requests) == 2


async def test_credentials_that_are_refused_again_and_again_are_loaded_now_and_then(
    kube: KubeClient, api_server: FakeApiServer
) -> None:
    api_server.tokens = [f"token-{number}" for number in range(50)]
    api_server.answer(failure(401, "Unauthorized", reason="Unauthorized"))

    for _ in range(20):
        with pytest.raises(Rejected):
            await kube.get(REF)

    assert len({request.headers["Authorization"] for request in api_server.requests}) == 2


async def test_an_object_that_is_not_there_is_none(kube: KubeClient, api_server: FakeApiServer) -> None:
    api_server.answer(failure(404, "not found", reason="NotFound"))

    assert await kube.get(REF) is None


async def test_delete_names_the_object_it_means(kube: KubeClient, api_server: FakeApiServer) -> None:
    api_server.answer(Answer(200, {"kind": "Status"}))

    await kube.delete(REF, uid="u", resource_version="7")

    [request] = api_server.requests
    assert request.method == "DELETE"
    assert request.body["preconditions"] == {"uid": "u", "resourceVersion": "7"}
    assert request.body["propagationPolicy"] == "Background"


async def test_deleting_what_is_gone_is_fine(kube: KubeClient, api_server: FakeApiServer) -> None:
    api_server.answer(failure(404, "not found", reason="NotFound"))

    await kube.delete(REF, uid="u")


async def test_deleting_a_namesake_is_a_conflict(kube: KubeClient, api_server: FakeApiServer) -> None:
    api_server.answer(failure(409, "the UID in the precondition (u) does not match", reason="Conflict"))

    with pytest.raises(Conflict):
        await kube.delete(REF, uid="u")


async def test_replace_sends_the_whole_object(kube: KubeClient, api_server: FakeApiServer) -> None:
    api_server.answer(OK)

    await kube.replace(DEPLOYMENT)

    [request] = api_server.requests
    assert (request.method, request.path) == ("PUT", "/apis/apps/v1/namespaces/ns/deployments/d")
    assert request.body == DEPLOYMENT


async def test_replacing_another_version_than_named_is_a_conflict(kube: KubeClient, api_server: FakeApiServer) -> None:
    api_server.answer(MODIFIED_MEANWHILE)

    with pytest.raises(Conflict):
        await kube.replace(DEPLOYMENT)

    assert len(api_server.requests) == 1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(failure(404, "not found"), False, id="no such group"),
        pytest.param(Answer(body={"resources": [{"name": "others"}]}), False, id="group without the resource"),
        pytest.param(Answer(body={"resources": [{"name": "servedmodels"}]}), True, id="served"),
    ],
)
async def test_resource_is_served_once_the_server_lists_it(
    kube: KubeClient, api_server: FakeApiServer, answer: Answer, expected: bool
) -> None:
    api_server.answer(answer)

    assert await kube.is_served(SERVED_MODELS) is expected


async def test_watch_yields_events_and_bookmarks_until_the_server_ends_it(
    kube: KubeClient, api_server: FakeApiServer
) -> None:
    events: list[dict[str, Any]] = [
        {"type": "ADDED", "object": {"metadata": {"name": "a"}}},
        {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}},
    ]
    api_server.answer(Answer(body=b"".join(json.dumps(event).encode() + b"\n" for event in events)))

    seen = [event async for event in kube.watch(PODS, resource_version="5", timeout_seconds=60, label_selector="a=b")]

    assert seen == [WatchEvent(event["type"], event["object"]) for event in events]
    [request] = api_server.requests
    assert request.path == "/api/v1/pods"
    assert request.query == {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": "5",
        "timeoutSeconds": "60",
        "labelSelector": "a=b",
    }


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(failure(410, "too old resource version", reason="Expired"), id="answered at once"),
        pytest.param(
            Answer(
                body=json.dumps(
                    {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}
                ).encode()
            ),
            id="as an event",
        ),
    ],
)
async def test_watch_from_a_version_too_old_is_gone(
    kube: KubeClient, api_server: FakeApiServer, answer: Answer
) -> None:
    api_server.answer(answer)

    with pytest.raises(Gone, match="too old"):
        [event async for event in kube.watch(PODS, resource_version="5", timeout_seconds=60)]


async def test_large_watch_events_are_read_whole(kube: KubeClient, api_server: FakeApiServer) -> None:
    event = {"type": "ADDED", "object": {"data": "x" * 1_000_000}}
    api_server.answer(Answer(body=json.dumps(event).encode() + b"\n"))

    [seen] = [event async for event in kube.watch(PODS, resource_version="5", timeout_seconds=60)]

    assert len(seen.object["data"]) == 1_000_000


async def test_requests_are_counted_by_verb_resource_and_code(kube: KubeClient, api_server: FakeApiServer) -> None:
    labels = {"verb": "apply", "resource": "deployments", "code": "422"}
    before = REGISTRY.get_sample_value("tfserving_operator_api_requests_total", labels) or 0.0
    api_server.answer(INVALID)

    with pytest.raises(Rejected):
        await kube.apply(DEPLOYMENT)

    assert REGISTRY.get_sample_value("tfserving_operator_api_requests_total", labels) == before + 1
