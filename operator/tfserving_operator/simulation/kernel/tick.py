"""One tick: what Python calls in its loop."""

from __future__ import annotations

from tfserving_operator.simulation.kernel.arrivals import arrive_until
from tfserving_operator.simulation.kernel.compiled import compiled
from tfserving_operator.simulation.kernel.layout import Fleet, Phase, Settings, Tally
from tfserving_operator.simulation.kernel.lifecycle import change_phases, list_ready, place_on_nodes
from tfserving_operator.simulation.kernel.scrapes import observe, scrape
from tfserving_operator.simulation.kernel.serving import begin_batches

_READY, _DRAINING = int(Phase.READY), int(Phase.DRAINING)


@compiled
def serve_until(fleet: Fleet, settings: Settings, tally: Tally, seconds: float) -> None:
    """Begin every batch that begins by ``seconds``, on all replicas."""
    for replica in range(fleet.phase.shape[0]):
        if fleet.phase[replica] == _READY or fleet.phase[replica] == _DRAINING:
            begin_batches(fleet, settings, tally, replica, seconds)


@compiled
def advance(fleet: Fleet, settings: Settings, tally: Tally, begin: float, end: float) -> None:
    """Let [begin, end) pass; ``tally.seen`` is then what the operator sees at ``end``.

    Replicas change their phase at the beginning of a tick only, so their times are rounded up to ticks.
    """
    for pool in range(tally.seen.shape[0]):
        place_on_nodes(fleet, settings, tally, pool, begin)
    change_phases(fleet, settings, tally, begin)
    ready = list_ready(fleet, tally)
    arrive_until(fleet, settings, tally, ready, begin, end)
    serve_until(fleet, settings, tally, end)
    scrape(fleet, settings, end)
    observe(fleet, settings, tally, end)
