"""Replicas start, wait for nodes, crash, drain and end."""

from __future__ import annotations

import math

from tfserving_operator.simulation.kernel.compiled import compiled, inlined
from tfserving_operator.simulation.kernel.layout import Fleet, Phase, Settings, Tally
from tfserving_operator.simulation.kernel.random_numbers import Stream, uniform
from tfserving_operator.simulation.kernel.scrapes import begin_series
from tfserving_operator.simulation.kernel.serving import lose_everything

_FREE, _WAITING, _STARTING, _READY, _DRAINING = (int(phase) for phase in Phase)
_CRASH = int(Stream.CRASH)
_CRASHES_A_REPLICA = 1 << 20
_HAS_NODE_FROM, _HAS_NODE_TO = _STARTING, _DRAINING


@inlined
def placed(fleet: Fleet, pool: int) -> int:
    """Return the replicas of ``pool`` that have a node."""
    count = 0
    for replica in range(fleet.phase.shape[0]):
        if fleet.pool[replica] == pool and _HAS_NODE_FROM <= fleet.phase[replica] <= _HAS_NODE_TO:
            count += 1
    return count


@inlined
def next_in_line(fleet: Fleet, pool: int, lowest: int, highest: int, is_newest: bool) -> int:
    """Return the newest or oldest replica of ``pool`` whose phase is in that range, or -1."""
    found = -1
    for replica in range(fleet.phase.shape[0]):
        if fleet.pool[replica] != pool or not lowest <= fleet.phase[replica] <= highest:
            continue
        if found < 0 or (fleet.serial[replica] > fleet.serial[found]) == is_newest:
            found = replica
    return found


@inlined
def place_on_nodes(fleet: Fleet, settings: Settings, tally: Tally, pool: int, seconds: float) -> None:
    """Give nodes to replicas that wait, oldest first, and take them from the newest where GPUs went away."""
    most = settings.nodes_most[pool]
    if settings.gpu_bound[pool]:
        slot = min(settings.gpus.shape[0] - 1, int(seconds / settings.slot_seconds + 0.5))
        most = min(most, int(settings.gpus[slot]))
    count = placed(fleet, pool)
    while count > most:
        replica = next_in_line(fleet, pool, _HAS_NODE_FROM, _HAS_NODE_TO, True)
        lose_everything(fleet, settings, tally, replica, seconds)
        is_ending = fleet.phase[replica] == _DRAINING
        fleet.phase[replica] = _FREE if is_ending else _WAITING
        # What takes its place is a new pod.
        fleet.created_seconds[replica] = seconds
        fleet.took_seconds[replica] = -1.0
        fleet.restarts[replica] = 0
        count -= 1
    while count < most:
        replica = next_in_line(fleet, pool, _WAITING, _WAITING, False)
        if replica < 0:
            return
        needs_new_node = count >= settings.nodes_available[pool]
        if needs_new_node and seconds < fleet.created_seconds[replica] + fleet.node_seconds[replica]:
            return
        fleet.phase[replica] = _STARTING
        fleet.due_seconds[replica] = seconds + fleet.start_up_seconds[replica]
        count += 1


@inlined
def next_crash(fleet: Fleet, settings: Settings, replica: int, after: float) -> float:
    """Return when ``replica`` crashes next: crashes are a Poisson process."""
    rate = settings.crashes_per_second[fleet.pool[replica]]
    if rate <= 0.0:
        return math.inf
    number = fleet.serial[replica] * _CRASHES_A_REPLICA + int(after)
    return float(after - math.log(uniform(settings.keys[_CRASH], number)) / rate)


@compiled
def become_ready(fleet: Fleet, settings: Settings, replica: int, seconds: float) -> None:
    """Let ``replica`` take requests from now on."""
    fleet.phase[replica] = _READY
    fleet.ready_seconds[replica] = seconds
    if fleet.took_seconds[replica] < 0.0:
        fleet.took_seconds[replica] = seconds - fleet.created_seconds[replica]
    fleet.crash_seconds[replica] = next_crash(fleet, settings, replica, seconds)
    for thread in range(fleet.free_seconds.shape[1]):
        fleet.free_seconds[replica, thread] = seconds
    begin_series(fleet, settings, replica, seconds)


@inlined
def change_phases(fleet: Fleet, settings: Settings, tally: Tally, seconds: float) -> None:
    """Bring the life of every replica to ``seconds``."""
    for replica in range(fleet.phase.shape[0]):
        phase = fleet.phase[replica]
        is_due = fleet.due_seconds[replica] <= seconds
        if phase == _STARTING and is_due:
            become_ready(fleet, settings, replica, seconds)
        is_crash = phase == _READY and fleet.crash_seconds[replica] <= seconds
        is_end = phase == _DRAINING and is_due
        if is_crash or is_end:
            lose_everything(fleet, settings, tally, replica, seconds)
        if is_crash:
            fleet.phase[replica] = _STARTING
            fleet.due_seconds[replica] = seconds + settings.restart_seconds[fleet.pool[replica]]
            fleet.restarts[replica] += 1
        elif is_end:
            fleet.phase[replica] = _FREE


@inlined
def list_ready(fleet: Fleet, tally: Tally) -> int:
    """Write the slots of all ready replicas to ``tally.ready`` and return how many they are."""
    count = 0
    for replica in range(fleet.phase.shape[0]):
        if fleet.phase[replica] == _READY:
            tally.ready[count] = replica
            count += 1
    return count
