"""What the scaling loop tells reconciling: the newest decision on each ServedModel, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tfserving_operator.api.autoscaling import AutoscalingMode, PoolCapacity, ScalingDecision
from tfserving_operator.api.refs import ModelKey
from tfserving_operator.reconcile.conditions import Verdict


@dataclass(frozen=True, kw_only=True)
class ScalingView:
    """What is known of one ServedModel. It differs from the one before only where that is worth a write."""

    uid: str
    mode: AutoscalingMode
    """The mode that it was decided in."""
    replicas: Mapping[str, int] | None
    """Wanted replicas by scaled pool; None: what runs is held."""
    enough: int | None = None
    """How many of them the load needs, where others wait for nodes."""
    active: Verdict
    """Condition ScalingActive."""
    limited: Verdict | None
    """Condition ScalingLimited; None where nothing was decided yet."""
    capacities: tuple[PoolCapacity, ...] = ()
    decisions: tuple[ScalingDecision, ...] = ()
    """Those made since the operator started, the newest first; the newest 20 at most."""


class ScalingBoard:
    """The newest view of each ServedModel that autoscaling looks after. All of it may be lost at any moment."""

    def __init__(self) -> None:
        self._views: dict[ModelKey, ScalingView] = {}

    def put(self, key: ModelKey, view: ScalingView) -> bool:
        """Replace the view; return whether it differs from the one before."""
        if self._views.get(key) == view:
            return False
        self._views[key] = view
        return True

    def view(self, key: ModelKey, *, uid: str) -> ScalingView | None:
        """Return the newest view of this very ServedModel; None before the first, and where autoscaling is off."""
        view = self._views.get(key)
        return view if view is not None and view.uid == uid else None

    def keep_only(self, keys: Iterable[ModelKey]) -> None:
        """Forget all others."""
        kept = set(keys)
        for key in [key for key in self._views if key not in kept]:
            del self._views[key]
