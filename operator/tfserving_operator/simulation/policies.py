"""The policies that a trace can be replayed with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tfserving_operator.autoscaling.decide import decide_replicas
from tfserving_operator.autoscaling.decision import Decision
from tfserving_operator.autoscaling.state import ScalingState
from tfserving_operator.resources.replicas import hold_until_taken_over
from tfserving_operator.simulation.engine import Moment
from tfserving_operator.simulation.kernel.layout import Array
from tfserving_operator.simulation.sight import observation_of
from tfserving_operator.simulation.world import World


class Operator:
    """What the operator does: the very same decisions from what it would see, once a tick."""

    def __init__(self, world: World) -> None:
        """Begin as after a start of the operator: nothing is known yet."""
        self.world = world
        self.state: ScalingState | None = None
        self.last: Decision | None = None

    def decide(self, moment: Moment) -> Mapping[str, int]:
        """Return what the Deployments get on the way to what ``decide_replicas`` wants, as in ``make_plan``."""
        if self.state is None:
            self.state = ScalingState.restored(None, now=moment.now)
        observation = observation_of(moment, self.world)
        self.last, self.state = decide_replicas(observation, self.state, now=moment.now)
        return _held(self.last, moment, {pool.pool.name: pool.ready for pool in observation.pools})


def _held(decision: Decision, moment: Moment, ready: Mapping[str, int]) -> Mapping[str, int]:
    wanted = {**moment.desired, **decision.replicas}
    # What is enough counts the pools that are scaled; those that fix their replicas serve as well.
    fixed = sum(count for name, count in wanted.items() if name not in decision.replicas)
    enough = None if decision.enough is None else decision.enough + fixed
    return hold_until_taken_over(wanted, moment.desired, ready, enough=enough)


@dataclass(frozen=True)
class Constant:
    """The same replicas all the time."""

    replicas: Mapping[str, int] = field(default_factory=dict)

    def decide(self, moment: Moment) -> Mapping[str, int]:
        """Return the same replicas as always; pools that are not named stay as they are."""
        return self.replicas


@dataclass(frozen=True)
class Planned:
    """Replicas by tick, known in advance."""

    pools: tuple[str, ...]
    replicas: Array
    """Tick x pool: what is wanted from the beginning of that tick."""

    def decide(self, moment: Moment) -> Mapping[str, int]:
        """Return the replicas of the tick that begins now."""
        tick = min(moment.tick + 1, len(self.replicas) - 1)
        return dict(zip(self.pools, self.replicas[tick].tolist(), strict=True))
