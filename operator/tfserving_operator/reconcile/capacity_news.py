"""When what was learned of the pools has moved enough to be written into status."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from tfserving_operator.api.autoscaling import PoolCapacity

CAPACITY_INTERVAL: Final = timedelta(minutes=5)
_TELLING_SHARE: Final = 0.1
_DIGITS: Final = 3


class CapacityNews:
    """What was told of the pools, and when that is to be looked at again."""

    def __init__(self, told: Sequence[PoolCapacity], restored: Sequence[PoolCapacity], *, now: datetime) -> None:
        self.told = tuple(told)
        self._looked_at = now
        self._before: dict[str, tuple[PoolCapacity, PoolCapacity]] = {}
        self.restore(restored)

    def restore(self, restored: Sequence[PoolCapacity]) -> None:
        """Learning begins anew from what was told, which makes ``restored`` of it."""
        told = {capacity.name: capacity for capacity in self.told}
        self._before = {each.name: (told[each.name], each) for each in restored if each.name in told}

    def take(
        self, known: Callable[[], Sequence[PoolCapacity]], *, now: datetime, goes_along: bool
    ) -> tuple[PoolCapacity, ...]:
        """Return what is to be told: what is known goes along with other news, and by itself seldom."""
        if not goes_along and now - self._looked_at < CAPACITY_INTERVAL:
            return self.told
        self._looked_at = now
        capacities = rounded([self._as_certain_as_before(capacity) for capacity in known()])
        if goes_along or has_moved(self.told, capacities):
            self.told = capacities
        return self.told

    def _as_certain_as_before(self, capacity: PoolCapacity) -> PoolCapacity:
        if capacity.name not in self._before:
            return capacity
        told, restored = self._before[capacity.name]
        return without_loss(capacity, told=told, restored=restored)


def without_loss(capacity: PoolCapacity, *, told: PoolCapacity, restored: PoolCapacity) -> PoolCapacity:
    """Return ``capacity`` without what only restoring changed.

    Of ``told``, the numbers in status, a restarted operator made ``restored``: less sure, so that what is seen soon
    counts for more. Written back that would fade from restart to restart, so confidence is told relative to it.
    """
    if capacity.config_hash != told.config_hash:
        return capacity
    numbers = (capacity.requests_per_second, capacity.confidence)
    if numbers == (restored.requests_per_second, restored.confidence):
        update = {"requests_per_second": told.requests_per_second, "confidence": told.confidence}
        return capacity.model_copy(update=update)
    if restored.confidence <= 0 or told.confidence <= restored.confidence:
        return capacity
    relative = capacity.confidence * told.confidence / restored.confidence
    return capacity.model_copy(update={"confidence": min(relative, max(told.confidence, capacity.confidence))})


def rounded(capacities: Sequence[PoolCapacity]) -> tuple[PoolCapacity, ...]:
    """Return the capacities with as many digits as mean something."""
    return tuple(
        capacity.model_copy(
            update={
                "requests_per_second": _significant(capacity.requests_per_second),
                "confidence": _significant(capacity.confidence),
                "start_up_seconds": None
                if capacity.start_up_seconds is None
                else _significant(capacity.start_up_seconds),
            }
        )
        for capacity in capacities
    )


def has_moved(told: Sequence[PoolCapacity], capacities: Sequence[PoolCapacity]) -> bool:
    """Whether a number is another one by more than a tenth, or was measured with another configuration."""
    before = {capacity.name: capacity for capacity in told}
    if before.keys() != {capacity.name for capacity in capacities}:
        return True
    return any(_differs(before[capacity.name], capacity) for capacity in capacities)


def _differs(old: PoolCapacity, new: PoolCapacity) -> bool:
    return (
        old.config_hash != new.config_hash
        or _moved(old.requests_per_second, new.requests_per_second)
        or _moved(old.start_up_seconds or 0.0, new.start_up_seconds or 0.0)
        or abs(old.confidence - new.confidence) > _TELLING_SHARE
    )


def _moved(old: float, new: float) -> bool:
    return abs(new - old) > _TELLING_SHARE * max(abs(old), abs(new))


def _significant(number: float) -> float:
    return float(f"{number:.{_DIGITS}g}")
