from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfserving_operator.clients.promql import (
    QueryName,
    QueryScope,
    ScrapeLabels,
    any_of,
    build_queries,
    le_spellings,
    quoted,
)

HOSTILE = '"} or vector(1) or up{x="\\\n'


def read_string(text: str) -> str:
    """Read a PromQL string as Prometheus' lexer does; AssertionError where it would end early."""
    assert re.fullmatch(r'"(?:[^"\\\n]|\\.)*"', text, re.DOTALL)
    inside = re.sub(r"\\x([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), text[1:-1])
    return re.sub(r'\\([\\"])', r"\1", inside)


def test_the_number_of_queries_does_not_depend_on_the_edges() -> None:
    assert (
        len(build_queries(QueryScope(), [])) == len(build_queries(QueryScope(), ["20823", "37481.3"])) == len(QueryName)
    )


def test_the_same_edges_make_the_same_text() -> None:
    assert build_queries(QueryScope(), ["20823", "10"]) == build_queries(QueryScope(), ["10", "20823", "20823"])


@pytest.mark.parametrize(
    ("le", "spellings"),
    [
        ("20823", ("20823", "20823.0")),
        ("37481.3", ("37481.3",)),
        ("1.27482e+06", ("1.27482e+06",)),
        ("+Inf", ("+Inf",)),
    ],
)
def test_edges_are_asked_for_as_both_prometheus_2_and_3_write_them(le: str, spellings: tuple[str, ...]) -> None:
    assert le_spellings(le) == spellings


def test_an_edge_is_matched_as_text_and_not_as_a_pattern() -> None:
    text = build_queries(QueryScope(), ["37481.3"])[QueryName.LATENCY]
    assert r'le=~"\\+Inf|37481\\.3"' in text


@given(st.text(alphabet=st.characters(blacklist_categories=["Cs"]).filter(lambda c: c >= " " or c in "\n\t\0")))
def test_no_text_ends_its_string(text: str) -> None:
    if "\\x" not in text:
        assert read_string(quoted(text)) == text


def test_text_that_is_not_unicode_is_replaced() -> None:
    assert quoted("a\udcffb") == '"a?b"'


@given(
    st.lists(st.text(alphabet='a.*+?()|[]{}^$\\"-/', min_size=1), min_size=1, max_size=3), st.text(alphabet="ab.*+|")
)
def test_a_pattern_matches_its_values_and_no_others(values: list[str], other: str) -> None:
    pattern = re.compile(read_string(any_of(values)))
    assert all(pattern.fullmatch(value) for value in values)
    assert bool(pattern.fullmatch(other)) is (other in values)


def test_hostile_matchers_and_namespaces_stay_within_their_strings() -> None:
    scope = QueryScope(matchers={"cluster": HOSTILE}, namespaces=(HOSTILE,))
    plain = QueryScope(matchers={"cluster": "c"}, namespaces=("n",))
    for name, text in build_queries(scope, []).items():
        expected = build_queries(plain, [])[name]
        assert without_strings(text) == without_strings(expected)


def without_strings(text: str) -> str:
    return re.sub(r'"(?:[^"\\\n]|\\.)*"', "STRING", text)


@pytest.mark.parametrize("name", ["", "a-b", "1a", "a b", 'a="x"} or up{b', "__name__", "le", "instance", "ä"])
def test_a_label_that_targets_cannot_have_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="label"):
        ScrapeLabels(pool=name)


def test_labels_must_differ() -> None:
    with pytest.raises(ValueError, match="must differ"):
        ScrapeLabels(pool="pod")


@pytest.mark.parametrize("name", ["a-b", 'x"', ""])
def test_a_matchers_name_that_is_not_a_label_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a label"):
        build_queries(QueryScope(matchers={name: "x"}), [])


def test_every_query_is_limited_to_model_servers_and_grouped_by_pool() -> None:
    scope = QueryScope(labels=ScrapeLabels(namespace="ns", served_model="model", pool="pool", pod="p"))
    for text in build_queries(scope, ["10"]).values():
        assert "by (ns, model, pool" in text
        selectors = re.findall(r"[:a-z_]+\{([^}]*)\}", text)
        assert selectors
        assert all('model!="", pool!=""' in selector for selector in selectors)


def test_sums_are_never_read() -> None:
    assert not any("_sum{" in text for text in build_queries(QueryScope(), ["10"]).values())
