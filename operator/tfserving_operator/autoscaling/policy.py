"""What a scaling policy is given and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from tfserving_operator.api.autoscaling import Autoscaling
from tfserving_operator.autoscaling.allocation import FixedReplicas, PoolSlot, TrafficSplit
from tfserving_operator.autoscaling.capacity import CapacityEstimate
from tfserving_operator.autoscaling.decision import ScalingRule
from tfserving_operator.autoscaling.history import History
from tfserving_operator.autoscaling.load import Load


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Everything a policy may look at. Replicas are those of the pools that are scaled; times are epoch seconds."""

    spec: Autoscaling
    replicas: int
    """``spec.replicas`` of the ServedModel."""
    load: Load
    is_upward_only: bool
    """The load is a lower bound: the answer is used only where it asks for more replicas."""
    history: History
    """Of the policy's metric over the stable window."""
    slots: tuple[PoolSlot, ...]
    fixed: FixedReplicas
    current: int
    """Replicas that are asked for now, without those that wait for a node in vain."""
    ready: int
    estimates: Mapping[str, CapacityEstimate]
    """What one replica carries, by pool; pools of which nothing is known are not in it."""
    promised: float
    """Share of requests that may be late by the objective."""
    place: float
    """Where the objective lies between the bucket edges, 0 at the one below."""
    aim: float
    """Share of late requests that the estimates are made for."""
    known_rate: float | None
    """Requests per second, corrected for replicas that just became ready; None where the load is not known."""
    is_unproven: bool
    """Replicas run with another config than the one that was measured."""
    is_steady: bool
    """No replica started to serve or left within the window that the load was measured over."""
    start_up_seconds: float
    split: TrafficSplit
    now: float
    moment: datetime
    """``now`` with its calendar."""

    @property
    def serving_estimates(self) -> Mapping[str, CapacityEstimate]:
        """What one replica carries, of the pools that have any to ask for: what was known of idle ones says nothing."""
        idle = {slot.name for slot in self.slots if slot.desired == 0}
        return {name: estimate for name, estimate in self.estimates.items() if name not in idle}

    @property
    def pending(self) -> int:
        """Replicas that are on their way."""
        return max(0, self.current - self.ready)


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """What a policy wants, before any bound."""

    replicas: int
    rule: ScalingRule
    message: str
    """Numbers in and the rule, without the number of replicas: it goes on with "wants 11"."""
    order: tuple[str, ...] | None = None
    """Pools to take them from; None for those that spec.fill says."""
    needed: int = 0
    """What it would take where the pools do not reach so far; 0 where they do."""
    is_surge: bool = False
    """Whether a surge is on: no way down until it is over, and up at once."""
    is_cautious: bool = False
    """Whether what a replica carries is too uncertain to take any away."""


StateT = TypeVar("StateT")


class Policy(Protocol[StateT]):
    """A rule that turns load into replicas."""

    def initial(self) -> StateT:
        """Return the state of a policy that has seen nothing."""
        ...

    def decide(self, situation: Situation, state: StateT) -> tuple[Want, StateT]:
        """Return what is wanted now, and the state for the next time. Twice at the same time is the same."""
        ...
