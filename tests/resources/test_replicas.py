"""Replicas of pools: clipped to bounds, filled up, and moved without a gap."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfserving_operator.api.pool import Pool, PoolReplicas
from tfserving_operator.resources.replicas import clip_replicas, fewest_replicas, fill_up, scaled_pools

counts = st.integers(0, 30)


def pool(name: str, **bounds: int) -> Pool:
    return Pool(name=name, replicas=PoolReplicas(**bounds))


@st.composite
def bounds(draw: st.DrawFn) -> PoolReplicas:
    if draw(st.booleans()):
        return PoolReplicas(fixed=draw(counts))
    least, room = draw(st.none() | counts), draw(st.none() | counts)
    return PoolReplicas(min=least, max=None if room is None else (least or 0) + room)


@st.composite
def pools_and_wishes(draw: st.DrawFn) -> tuple[list[Pool], dict[str, int]]:
    pools = [
        Pool(name=f"p{n}", replicas=each) for n, each in enumerate(draw(st.lists(bounds(), min_size=1, max_size=4)))
    ]
    return pools, {each.name: draw(counts) for each in pools if draw(st.booleans())}


def total(replicas: Mapping[str, int], pools: list[Pool]) -> int:
    return sum(replicas[each.name] for each in scaled_pools(pools))


# Clipping


@pytest.mark.parametrize(
    ("pools", "wanted", "max_total", "expected"),
    [
        pytest.param([pool("a", min=2)], {"a": 1}, None, {"a": 2}, id="min"),
        pytest.param([pool("a", max=2)], {"a": 3}, None, {"a": 2}, id="max"),
        pytest.param([pool("a", fixed=2)], {"a": 3}, None, {"a": 2}, id="fixed"),
        pytest.param([pool("a", min=1), pool("b")], {}, None, {"a": 1, "b": 0}, id="not named"),
        pytest.param([pool("a")], {"a": 1, "gone": 5}, None, {"a": 1}, id="no such pool"),
        pytest.param([pool("a"), pool("b")], {"a": 3, "b": 3}, 4, {"a": 3, "b": 1}, id="the last gives up first"),
        pytest.param([pool("a"), pool("b")], {"a": 3, "b": 3}, 2, {"a": 2, "b": 0}, id="then the one before"),
        pytest.param([pool("a", min=3), pool("b", min=1)], {"a": 3, "b": 3}, 2, {"a": 3, "b": 1}, id="min wins"),
        pytest.param([pool("a", fixed=5), pool("b")], {"b": 3}, 2, {"a": 5, "b": 2}, id="fixed ones do not count"),
    ],
)
def test_wishes_are_clipped_to_bounds(
    pools: list[Pool], wanted: dict[str, int], max_total: int | None, expected: dict[str, int]
) -> None:
    assert clip_replicas(wanted, pools, max_total=max_total) == expected


@given(case=pools_and_wishes(), max_total=st.none() | st.integers(1, 60))
def test_clipped_replicas_keep_every_bound(case: tuple[list[Pool], dict[str, int]], max_total: int | None) -> None:
    pools, wanted = case
    clipped = clip_replicas(wanted, pools, max_total=max_total)
    assert list(clipped) == [each.name for each in pools]
    for each in pools:
        most = each.replicas.fixed if each.replicas.fixed is not None else each.replicas.max
        assert fewest_replicas(each) <= clipped[each.name] <= (clipped[each.name] if most is None else most)
    if max_total is not None:
        assert total(clipped, pools) <= max(max_total, sum(fewest_replicas(each) for each in scaled_pools(pools)))


@given(case=pools_and_wishes(), max_total=st.none() | st.integers(1, 60))
def test_clipping_twice_is_the_same(case: tuple[list[Pool], dict[str, int]], max_total: int | None) -> None:
    pools, wanted = case
    once = clip_replicas(wanted, pools, max_total=max_total)
    assert clip_replicas(once, pools, max_total=max_total) == once


@given(case=pools_and_wishes())
def test_a_generous_total_takes_nothing(case: tuple[list[Pool], dict[str, int]]) -> None:
    pools, wanted = case
    clipped = clip_replicas(wanted, pools)
    assert clip_replicas(wanted, pools, max_total=max(1, total(clipped, pools))) == clipped


# Filling up


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        pytest.param({"a": 1, "b": 1}, {"a": 3, "b": 2}, id="the first grows first, up to its max"),
        pytest.param({"a": 0, "b": 5}, {"a": 0, "b": 5}, id="enough already"),
        pytest.param({"a": 0, "b": 9}, {"a": 0, "b": 9}, id="more than that already"),
    ],
)
def test_pools_are_filled_up_in_order(shares: dict[str, int], expected: dict[str, int]) -> None:
    assert fill_up(shares, 5, [pool("a", max=3), pool("b")]) == expected


@given(case=pools_and_wishes(), wanted_total=st.integers(0, 150))
def test_filling_up_takes_nothing_and_reaches_the_total_where_it_can(
    case: tuple[list[Pool], dict[str, int]], wanted_total: int
) -> None:
    pools, wanted = case
    shares = clip_replicas(wanted, pools)
    filled = fill_up(shares, wanted_total, pools)
    assert all(filled[name] >= shares[name] for name in shares)
    assert clip_replicas(filled, pools) == filled
    room = [each.replicas.max for each in scaled_pools(pools)]
    if room and None in room:
        assert total(filled, pools) == max(wanted_total, total(shares, pools))
