"""Init containers that bring no model: the operator's own for TLS, those of podTemplate, and native sidecars."""

from __future__ import annotations

from typing import Any

import pytest

from tests.reconcile.world import NOW, SCHEDULED
from tfserving_operator.api.conditions import Reason
from tfserving_operator.reconcile.pod_problem import PodProblem
from tfserving_operator.reconcile.pod_view import PodPhase, PodView, view_pod

NOT_READY = {"type": "Ready", "status": "False"}
RUNNING: dict[str, Any] = {"running": {}}
BACK_OFF = {"waiting": {"reason": "CrashLoopBackOff"}}
SERVER = {"name": "server", "state": RUNNING}
NO_KEY = "render-tls.sh: line 11: /var/run/tfserving/tls/tls.key: No such file or directory"
TLS_VOLUME = {"name": "tls-secret", "secret": {"secretName": "certificate"}}


def ended(code: int, message: str = "", reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


def seen(*inits: dict[str, Any], server: dict[str, Any] | None = None, **spec: Any) -> PodView:
    status = {"conditions": [SCHEDULED, NOT_READY], "initContainerStatuses": list(inits)}
    if server is not None:
        status["containerStatuses"] = [server]
    return view_pod({"metadata": {"name": "p", "uid": "u"}, "spec": spec, "status": status}, NOW)


def problem_of(*inits: dict[str, Any], server: dict[str, Any] | None = None, **spec: Any) -> PodProblem:
    problem = seen(*inits, server=server, **spec).problem
    assert problem is not None
    return problem


def test_a_tls_secret_without_its_key_is_a_missing_reference() -> None:
    problem = problem_of({"name": "render-tls", "state": ended(1, NO_KEY)}, volumes=[TLS_VOLUME])
    assert problem.reason is Reason.MISSING_REFERENCE
    assert "Secret certificate lacks tls.crt or tls.key" in problem.message


def test_the_words_of_the_tls_script_are_repeated() -> None:
    said = "the TLS secret lacks ca.crt: add it"
    problem = problem_of({"name": "render-tls", "state": BACK_OFF, "lastState": ended(1, said)}, volumes=[TLS_VOLUME])
    assert problem == PodProblem(Reason.MISSING_REFERENCE, "Secret certificate: the TLS secret lacks ca.crt: add it")


@pytest.mark.parametrize(
    ("state", "reason", "words"),
    [
        (ended(128, "bash: not found"), Reason.CRASH_LOOP, "container render-tls ended with exit code 128"),
        (ended(137, reason="OOMKilled"), Reason.OUT_OF_MEMORY, "container render-tls exceeded its memory limit"),
    ],
)
def test_the_tls_secret_is_not_blamed_for_what_else_may_go_wrong(
    state: dict[str, Any], reason: Reason, words: str
) -> None:
    problem = problem_of({"name": "render-tls", "state": state})
    assert problem.reason is reason
    assert words in problem.message


@pytest.mark.parametrize("name", ["warm-disk", "fetcher", "checks"])
def test_an_init_container_of_the_pod_template_is_named(name: str) -> None:
    problem = problem_of({"name": name, "state": ended(3, "no such disk")})
    assert problem == PodProblem(Reason.CRASH_LOOP, f"container {name} ended with exit code 3: no such disk")


def test_an_init_container_without_a_word_points_at_the_pod_template() -> None:
    problem = problem_of({"name": "warm-disk", "state": BACK_OFF, "lastState": ended(3)})
    assert "correct podTemplate, or look into its log" in problem.message


@pytest.mark.parametrize("name", ["fetch-m", "check-m"])
def test_one_that_brings_a_model_still_fails_to_fetch(name: str) -> None:
    assert problem_of({"name": name, "state": ended(2, "Traceback")}).reason is Reason.FETCH_FAILED


def test_only_what_brings_models_is_fetching() -> None:
    assert seen({"name": "fetch-m", "state": RUNNING}).phase is PodPhase.FETCHING
    assert seen({"name": "check-m", "state": RUNNING}).phase is PodPhase.FETCHING
    assert seen({"name": "warm-disk", "state": RUNNING}).phase is PodPhase.STARTING


# Native sidecars. The cache keeps no restartPolicy of a pod's containers, but of all init containers only a sidecar is
# ever ``started``.
BY_SPEC = {"initContainers": [{"name": "proxy", "restartPolicy": "Always"}]}
SIDECARS = [pytest.param({"started": True}, {}, id="by its status"), pytest.param({}, BY_SPEC, id="by its spec")]


@pytest.mark.parametrize(("status", "spec"), SIDECARS)
def test_a_native_sidecar_that_runs_fetches_nothing(status: dict[str, Any], spec: dict[str, Any]) -> None:
    proxy = {"name": "proxy", "state": RUNNING, **status}
    assert seen(proxy, server=SERVER, **spec).phase is PodPhase.LOADING
    assert seen(proxy, {"name": "fetch-m", "state": RUNNING}, **spec).phase is PodPhase.FETCHING


@pytest.mark.parametrize(("status", "spec"), SIDECARS)
def test_a_native_sidecar_that_runs_again_does_not_hide_the_servers_fault(
    status: dict[str, Any], spec: dict[str, Any]
) -> None:
    proxy = {"name": "proxy", "state": RUNNING, "lastState": ended(3), **status}
    assert seen(proxy, server=SERVER, **spec).problem is None
    failing = {"name": "server", "state": BACK_OFF, "lastState": ended(134, "abort")}
    assert "the server ended with exit code 134" in problem_of(proxy, server=failing, **spec).message


def test_a_native_sidecar_that_does_not_run_is_named() -> None:
    proxy = {"name": "proxy", "state": BACK_OFF, "lastState": ended(3), "started": False}
    assert problem_of(proxy, server=SERVER).message.startswith("container proxy ended with exit code 3")


def test_a_native_sidecar_that_is_not_ready_is_named() -> None:
    lost = NOT_READY | {"lastTransitionTime": "2026-01-02T03:00:00Z"}
    status = {
        "conditions": [SCHEDULED, lost],
        "initContainerStatuses": [
            {"name": "fetch-m", "ready": True, "state": ended(0)},
            {"name": "proxy", "ready": False, "started": True, "state": RUNNING},
        ],
        "containerStatuses": [SERVER | {"started": True, "ready": True}],
    }
    problem = view_pod({"metadata": {"name": "p", "uid": "u"}, "status": status}, NOW).problem
    assert problem is not None
    assert "container proxy is not ready" in problem.message
