from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.resources.cases import CASES, FETCHED, METADATA, spec_of
from tfserving_operator.api.pool import Pool
from tfserving_operator.api.servedmodel import ServedModelSpec
from tfserving_operator.resources.desired import (
    DesiredInputs,
    RunningPool,
    build_children,
    name_problems,
    spec_problems,
)
from tfserving_operator.resources.replicas import hold_until_taken_over, share_replicas

GOLDEN = Path(__file__).parent / "golden"


class PlainDumper(yaml.SafeDumper):
    """Writes shared parts out in full: a golden file is read by people."""

    def ignore_aliases(self, data: object) -> bool:
        return True


OPERATOR_IMAGE = "example.com/tfserving-operator:1"


def children_of(spec: ServedModelSpec, **inputs: Any) -> list[dict[str, Any]]:
    defaults = {
        "fetcher_image": OPERATOR_IMAGE,
        "replicas": share_replicas(spec.replicas, spec.pools),
        "running": {},
    }
    return build_children(METADATA, spec, DesiredInputs(**(defaults | inputs)))


def child(children: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return next(child for child in children if child["kind"] == kind)


@pytest.mark.parametrize("case", CASES)
def test_children_are_those_of_the_golden_file(case: str, update_golden: bool) -> None:
    text = yaml.dump_all(children_of(spec_of(case)), Dumper=PlainDumper, sort_keys=False, width=120)
    path = GOLDEN / f"{case}.yaml"
    if update_golden:
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("case", CASES)
def test_every_child_is_owned_and_copies_nothing_of_the_resource(case: str) -> None:
    for manifest in children_of(spec_of(case)):
        owner = manifest["metadata"]["ownerReferences"]
        assert [o["uid"] for o in owner if o["controller"]] == [METADATA.uid]
        keys = {*manifest["metadata"]["labels"], *manifest["metadata"]["annotations"]}
        assert not keys & {*METADATA.labels, *METADATA.annotations}


def test_labels_and_annotations_of_the_resource_do_not_touch_any_child() -> None:
    spec = spec_of("minimal")
    inputs = DesiredInputs(OPERATOR_IMAGE, {"default": 1}, {})
    relabelled = METADATA.model_copy(update={"labels": {"a": "b"}, "annotations": {"c": "d"}, "generation": 9})
    assert build_children(relabelled, spec, inputs) == build_children(METADATA, spec, inputs)


def template_of(spec: dict[str, Any], **inputs: Any) -> dict[str, Any]:
    template = child(children_of(ServedModelSpec.model_validate(spec), **inputs), "Deployment")["spec"]["template"]
    assert isinstance(template, dict)
    return template


CLAIM = {"name": "m", "source": {"uri": "pvc://claim/m"}}
TLS = {"server": {"tls": {"secretName": "certificate"}}}
SERVED = {"models": [CLAIM | {"versions": {"specific": [1, 2]}, "labels": {"stable": 1}}]}


@pytest.mark.parametrize(
    ("before", "after", "rolls"),
    [
        pytest.param(SERVED, {"models": [CLAIM | {"versions": {"specific": [2, 3]}}]}, False, id="versions on a claim"),
        pytest.param(
            SERVED,
            {"models": [CLAIM | {"versions": {"specific": [1, 2]}, "labels": {"stable": 2}}]},
            False,
            id="a label moves",
        ),
        pytest.param(SERVED, SERVED | {"replicas": 5}, False, id="replicas"),
        pytest.param(SERVED, SERVED | {"disruption": {"maxUnavailable": 2}}, False, id="disruption"),
        pytest.param(SERVED, SERVED | {"networking": {"restPort": 80}}, False, id="the Service's port"),
        pytest.param(SERVED, SERVED | {"batching": {}}, True, id="batching on"),
        pytest.param(
            SERVED | {"batching": {"batchTimeout": "1ms"}},
            SERVED | {"batching": {"batchTimeout": "2ms"}},
            True,
            id="a batching parameter, which the server cannot reload",
        ),
        pytest.param(
            {"models": [FETCHED | {"versions": {"specific": [1]}}]},
            {"models": [FETCHED | {"versions": {"specific": [2]}}]},
            True,
            id="versions that have to be fetched",
        ),
        pytest.param(SERVED, {"models": [*SERVED["models"], FETCHED]}, True, id="one more model"),
        pytest.param(SERVED, SERVED | {"server": {"image": "other"}}, True, id="image"),
        pytest.param(
            SERVED | TLS,
            TLS | {"models": [CLAIM | {"versions": {"specific": [2, 3]}}]},
            True,
            id="versions with TLS, where the operator cannot call the server",
        ),
        pytest.param(
            SERVED | TLS,
            TLS | {"models": [CLAIM | {"versions": {"specific": [1, 2]}, "labels": {"stable": 2}}]},
            True,
            id="a label with TLS",
        ),
    ],
)
def test_pods_roll_exactly_when_the_server_cannot_follow(
    before: dict[str, Any], after: dict[str, Any], rolls: bool
) -> None:
    assert (template_of(before) != template_of(after)) is rolls


def test_a_new_operator_image_does_not_roll_running_pods() -> None:
    spec = spec_of("minimal")
    first = child(children_of(spec), "Deployment")
    running = RunningPool(OPERATOR_IMAGE, first["metadata"]["annotations"]["tfserving.dev/template-hash"])
    upgraded = children_of(spec, fetcher_image="example.com/tfserving-operator:2", running={"default": running})
    assert child(upgraded, "Deployment") == first


def test_a_changed_spec_takes_the_new_fetcher_image() -> None:
    running = RunningPool(OPERATOR_IMAGE, "another-template")
    template = template_of(CASES["minimal"], fetcher_image="new:2", running={"default": running})
    assert template["spec"]["initContainers"][0]["image"] == "new:2"


@pytest.mark.parametrize("constraint", [{}, {"labelSelector": None}], ids=["left out", "null"])
def test_a_constraint_without_a_selector_spreads_the_pool(constraint: dict[str, Any]) -> None:
    scheduling = {"topologySpreadConstraints": [{"topologyKey": "zone", **constraint}]}
    template = template_of(SERVED | {"pools": [{"name": "cpu", "scheduling": scheduling}]})
    [spread] = template["spec"]["topologySpreadConstraints"]
    selected = spread["labelSelector"]["matchLabels"]
    assert selected["tfserving.dev/pool"] == "cpu"
    assert selected.items() <= template["metadata"]["labels"].items()


@pytest.mark.parametrize(
    ("limits", "volume", "arguments"),
    [
        (["1Gi"], {"sizeLimit": "1073741824"}, ["1073741824"]),
        (["1Pi"], {"sizeLimit": "1125899906842624"}, ["1125899906842624"]),
        (["1k", "2k"], {"sizeLimit": "3000"}, ["1000", "2000"]),
        (["1k", None], {}, ["1000"]),
    ],
)
def test_the_volume_is_bounded_where_every_fetched_model_is(
    limits: list[str | None], volume: dict[str, str], arguments: list[str]
) -> None:
    models = [
        {"name": f"m{index}", "source": {"uri": "s3://b/m"} | ({"sizeLimit": limit} if limit else {})}
        for index, limit in enumerate(limits)
    ]
    pod = template_of({"models": models})["spec"]
    assert [v["emptyDir"] for v in pod["volumes"] if v["name"] == "fetched-models"] == [volume]
    commands = [container["command"] for container in pod["initContainers"]]
    given = [c[c.index("--size-limit-bytes") + 1] for c in commands if "--size-limit-bytes" in c]
    assert given == arguments


def test_names_too_long_for_a_service_are_named() -> None:
    spec = ServedModelSpec.model_validate(CASES["minimal"] | {"pools": [{"name": "p" * 20}]})
    metadata = METADATA.model_copy(update={"name": "m" * 40})
    assert ["p-headless' would need a DNS label" in text for text in name_problems(metadata, spec)] == [True]


def test_pools_whose_services_would_have_one_name_are_named() -> None:
    names = ["x-headless", "y", "x", "z-headless"]
    spec = ServedModelSpec.model_validate(CASES["minimal"] | {"pools": [{"name": name} for name in names]})
    assert spec_problems(spec) == [
        "spec.pools: pools 'x' and 'x-headless' would share the Service NAME-x-headless: rename one of them"
    ]


pools = st.lists(
    st.builds(
        lambda fixed, low, extra: (
            {"fixed": fixed} if fixed is not None else {"min": low, "max": None if extra is None else low + extra}
        ),
        st.none() | st.integers(0, 20),
        st.integers(0, 20),
        st.none() | st.integers(0, 20),
    ),
    min_size=1,
    max_size=8,
).map(
    lambda replicas: [
        Pool.model_validate({"name": f"p{index}", "replicas": {k: v for k, v in r.items() if v is not None}})
        for index, r in enumerate(replicas)
    ]
)


@given(total=st.integers(0, 200), pools=pools)
def test_shared_replicas_keep_every_bound_and_reach_the_total_where_they_can(total: int, pools: list[Pool]) -> None:
    shares = share_replicas(total, pools)
    scaled = [pool for pool in pools if pool.replicas.fixed is None]
    for pool in pools:
        bounds = pool.replicas
        if bounds.fixed is not None:
            assert shares[pool.name] == bounds.fixed
        else:
            assert shares[pool.name] >= (bounds.min or 0)
            assert bounds.max is None or shares[pool.name] <= bounds.max
    reached = sum(shares[pool.name] for pool in scaled)
    lowest = sum(pool.replicas.min or 0 for pool in scaled)
    unbounded = any(pool.replicas.max is None for pool in scaled)
    highest = None if unbounded else sum(pool.replicas.max or 0 for pool in scaled)
    if scaled:
        assert reached == max(lowest, total if highest is None else min(total, highest))


@given(total=st.integers(0, 200), pools=pools)
def test_one_more_replica_never_takes_one_from_a_pool(total: int, pools: list[Pool]) -> None:
    fewer, more = share_replicas(total, pools), share_replicas(total + 1, pools)
    assert all(more[name] >= fewer[name] for name in fewer)


COUNTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=5)


@pytest.mark.parametrize(
    ("wanted", "current", "ready", "held"),
    [
        pytest.param({"a": 0, "b": 2}, {"a": 2, "b": 0}, {"a": 2, "b": 0}, {"a": 2, "b": 2}, id="nothing is ready yet"),
        pytest.param({"a": 0, "b": 2}, {"a": 2, "b": 2}, {"a": 2, "b": 1}, {"a": 1, "b": 2}, id="one has taken over"),
        pytest.param({"a": 0, "b": 2}, {"a": 1, "b": 2}, {"a": 1, "b": 2}, {"a": 0, "b": 2}, id="all have"),
        pytest.param({"a": 1}, {"a": 5}, {"a": 5}, {"a": 1}, id="a plain scale-down"),
        pytest.param({"a": 0, "b": 1}, {"a": 3, "b": 0}, {"a": 0, "b": 0}, {"a": 0, "b": 1}, id="nothing to lose"),
        pytest.param(
            {"a": 0, "b": 2},
            {"a": 1, "b": 2},
            {"a": 2, "b": 1},
            {"a": 1, "b": 2},
            id="a pod on its way out is no spare",
        ),
    ],
)
def test_replicas_move_between_pools_without_a_gap(
    wanted: dict[str, int], current: dict[str, int], ready: dict[str, int], held: dict[str, int]
) -> None:
    assert hold_until_taken_over(wanted, current, ready) == held


@pytest.mark.parametrize(
    ("enough", "held"), [(None, {"gpu": 2, "cpu": 1}), (2, {"gpu": 2, "cpu": 1}), (1, {"gpu": 2, "cpu": 0})]
)
def test_nobody_serves_in_place_of_a_replica_that_waits_for_a_node_and_is_not_needed(
    enough: int | None, held: dict[str, int]
) -> None:
    now = {"gpu": 1, "cpu": 1}
    assert hold_until_taken_over({"gpu": 2, "cpu": 0}, {"gpu": 2, "cpu": 1}, now, enough=enough) == held


@given(counts=COUNTS, enough=st.none() | st.integers(0, 50))
def test_what_is_held_is_just_enough(counts: list[tuple[int, int, int]], enough: int | None) -> None:
    names = [f"p{index}" for index in range(len(counts))]
    wanted = {name: count[0] for name, count in zip(names, counts, strict=True)}
    current = {name: count[1] for name, count in zip(names, counts, strict=True)}
    ready = {name: count[2] for name, count in zip(names, counts, strict=True)}
    held = hold_until_taken_over(wanted, current, ready, enough=enough)
    staying = {name: min(ready[name], current[name]) for name in names}
    still_ready = sum(min(staying[name], held[name]) for name in names)
    to_serve = min(sum(wanted.values()), sum(wanted.values()) if enough is None else enough)
    assert still_ready >= min(to_serve, sum(staying.values()))
    assert all(wanted[name] <= held[name] <= max(wanted[name], ready[name]) for name in names)


@pytest.mark.parametrize("drain_seconds", [2, 20, 3600])
def test_a_connection_ages_within_the_drain_and_cuts_no_request_that_is_shorter_than_it(drain_seconds: int) -> None:
    spec = spec_of("minimal")
    spec = spec.model_copy(update={"server": spec.server.model_copy(update={"drain_seconds": drain_seconds})})
    server = child(children_of(spec), "Deployment")["spec"]["template"]["spec"]["containers"][0]
    argument = next(each for each in server["args"] if each.startswith("--grpc_channel_arguments="))
    age, grace = (
        int(argument.partition(f"grpc.{name}=")[2].partition(",")[0])
        for name in ("max_connection_age_ms", "max_connection_age_grace_ms")
    )
    assert age <= 500 * drain_seconds
    assert grace >= 1000 * drain_seconds
