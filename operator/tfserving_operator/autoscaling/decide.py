"""One scaling decision: what the policy wants, then every bound in its order, then which pool gets the replicas."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime

from tfserving_operator.api.autoscaling import ScalingPolicy
from tfserving_operator.autoscaling.allocation import PoolSlot, TrafficSplit, grown, in_fill_order, shared_out
from tfserving_operator.autoscaling.bounds import Limits, Step, bounded
from tfserving_operator.autoscaling.decision import Decision, ScalingRule
from tfserving_operator.autoscaling.explain import told
from tfserving_operator.autoscaling.load import Load, combined_load
from tfserving_operator.autoscaling.observation import ScalingObservation
from tfserving_operator.autoscaling.overload import MOST_FACTOR
from tfserving_operator.autoscaling.policies import wanted
from tfserving_operator.autoscaling.policy import Situation, Want
from tfserving_operator.autoscaling.pool_slots import NODE_PATIENCE_SECONDS
from tfserving_operator.autoscaling.sight import Sight, look
from tfserving_operator.autoscaling.state import ScalingState, place_of_objective, promised_late


def decide_replicas(
    observation: ScalingObservation,
    state: ScalingState,
    *,
    now: datetime,
    split: TrafficSplit = TrafficSplit.EVEN,
) -> tuple[Decision, ScalingState]:
    """Return how many replicas each pool that is scaled should have, and the state for the next decision.

    Gives up replicas only on fresh numbers of every ready replica; adds them on less. Deciding twice at the same time
    is the same. ``split`` says how requests are spread over pools today.
    """
    clock = now.timestamp()
    load = combined_load(observation.pools, now=clock, place=place_of_objective(observation.spec))
    state = state.at_clock(now, promised_late(observation.spec)).after(observation, load, now=clock)
    load = state.silence_of(load, now=clock)
    sight = look(observation, state, load, now=now, split=split)
    if not sight.situation.slots:
        return Decision(replicas={}, rule=ScalingRule.FIXED, message="every pool fixes its replicas"), state
    want, policy_state = wanted(sight.situation, state.policy)
    want = _as_far_as_known(want, sight, state)
    no_way_down = _no_way_down(want, sight, state)
    limits = Limits(
        spec=observation.spec,
        slots=sight.situation.slots,
        fixed_desired=sight.fixed_desired,
        current=sight.desired,
        start_up_seconds=sight.situation.start_up_seconds,
        no_way_down=no_way_down,
        now=clock,
        moment=now,
    )
    step, behavior = bounded(_first_step(want, sight, state), limits, state.behavior)
    needed = step.total
    replicas, step = _allocated(step, want, sight, state, may_move=no_way_down is None)
    decision = replace(_decision(want, step, replicas, sight), enough=_enough(needed, replicas, sight))
    return decision, replace(state, behavior=behavior, policy=policy_state)


def _as_far_as_known(want: Want, sight: Sight, state: ScalingState) -> Want:
    """What the policy wants, or what runs where its numbers cannot be trusted to ask for less."""
    situation = sight.situation
    if sight.is_new:
        return Want(
            replicas=situation.replicas, rule=ScalingRule.STARTING_UP, message="nothing runs yet; spec.replicas"
        )
    if not situation.is_upward_only or situation.spec.policy is ScalingPolicy.FIXED:
        return want
    load = situation.load
    words = f"{_what_is_seen(load)} already"
    twice, why = _help_for_silent_ones(situation, state)
    if twice > want.replicas:
        want, words = replace(want, replicas=twice), why
    if load.may_scale_up and want.replicas > situation.current:
        return replace(want, rule=ScalingRule.NO_TELEMETRY, message=f"{load.message}; {words}")
    return Want(
        replicas=situation.current, rule=ScalingRule.NO_TELEMETRY, message=f"{load.message}; without telemetry one"
    )


def _help_for_silent_ones(situation: Situation, state: ScalingState) -> tuple[int, str]:
    """Twice the replicas that are too busy to be scraped, and why, where no numbers can be trusted; else 0.

    What replicas did last may be of a calmer time, or be shared with others that are gone. Again when the new ones are
    silent as well, up to a bound: what cannot be scraped for another reason never gets better.
    """
    if situation.load.too_busy_share == 0:
        return 0, ""
    if situation.load.is_silence_lasting:
        seconds = situation.load.silent_seconds
        why = f"an overload without numbers, as no ready replica has answered a scrape for {seconds:.0f}s,"
    elif not situation.estimates and situation.spec.policy is ScalingPolicy.LATENCY:
        why = "an overload of replicas of which is not known yet what they carry"
    else:
        return 0, ""
    most = min(int(MOST_FACTOR) * max(1, state.silent_ready), sum(slot.reachable for slot in situation.slots))
    return min(2 * max(1, situation.ready), most), why


def _what_is_seen(load: Load) -> str:
    words = f"what is seen, {load.requests_per_second:.4g} requests/s on {load.covered} of {load.ready} replicas,"
    if load.silent_per_second <= 0:
        return words
    late = load.silent_late_per_second / load.silent_per_second
    return f"{words} and {load.silent_per_second:.4g}/s, {late:.0%} late, on others before their scrapes failed,"


def _first_step(want: Want, sight: Sight, state: ScalingState) -> Step:
    """What the policy wants with those that wait for nodes, and what kept it from more: pools that reach no further."""
    needed = max(want.replicas, want.needed)
    patient = any(_is_waiting(slot.name, state, sight.situation.now) for slot in sight.situation.slots if slot.stuck)
    total = want.replicas + (sight.stuck if patient else min(sight.stuck, needed - want.replicas))
    if total > needed:
        return Step(total, ScalingRule.WAITING_FOR_NODE, f"{total - needed} that wait for a node are not given up yet")
    if total == needed:
        return Step(total)
    if any(slot.reachable < slot.most for slot in sight.situation.slots):
        return Step(total, ScalingRule.MAX_STARTING, f"as many as may start at once are starting: {total}")
    return Step(total, ScalingRule.MAX_REPLICAS, f"the pools that help reach to {total}")


def _no_way_down(want: Want, sight: Sight, state: ScalingState) -> tuple[ScalingRule, str] | None:
    situation = sight.situation
    holds = f"keeps {sight.desired}"
    if situation.spec.policy is ScalingPolicy.FIXED:
        return None
    if situation.is_upward_only:
        return ScalingRule.NO_TELEMETRY, f"{situation.load.message}; holding without telemetry {holds}"
    if not state.has_seen_enough:
        return ScalingRule.STARTING_UP, f"holding until a stable window of samples has been seen {holds}"
    if want.is_surge:
        return ScalingRule.PANIC, f"the surge {holds}"
    cooldown = situation.spec.cooldown_seconds
    if state.rollout_at is not None and situation.now - state.rollout_at < cooldown:
        return ScalingRule.COOLDOWN, f"the cooldown of {cooldown}s after a rollout or a failover {holds}"
    if want.is_cautious:
        return ScalingRule.COOLDOWN, f"waiting to see what a replica carries after the change {holds}"
    return None


def _allocated(
    step: Step, want: Want, sight: Sight, state: ScalingState, *, may_move: bool
) -> tuple[dict[str, int], Step]:
    """Share the total out over the pools; no pool gives up a replica unless ``may_move``."""
    situation = sight.situation
    slots = situation.slots
    order = want.order or in_fill_order(slots, situation.spec.fill)
    kept = _kept(sight, state)
    is_growing = step.total >= sight.desired and not may_move
    shares = grown(step.total, kept, order) if is_growing else shared_out(step.total, kept, order)
    total = sum(shares.values())
    if total > step.total and kept != slots:
        step = step.held_at(total, ScalingRule.WAITING_FOR_NODE, f"replicas that wait for a node keep {total}")
    elif total > step.total:
        step = step.held_at(
            total, ScalingRule.MIN_REPLICAS, f"the pools' min beside what runs elsewhere asks for {total}"
        )
    elif total < step.total:
        step = step.held_at(total, ScalingRule.MAX_STARTING, f"as many as may start at once are starting: {total}")
    return shares, step


def _kept(sight: Sight, state: ScalingState) -> tuple[PoolSlot, ...]:
    """The pools, those that wait for a node with what they have as their fewest, as far as maxReplicas lets them."""
    slots, most = sight.situation.slots, sight.situation.spec.max_replicas
    room = math.inf if most is None else max(0, most - sum(slot.fewest for slot in slots))
    kept = []
    for slot in slots:
        more = min(slot.most, max(slot.fewest, slot.desired)) - slot.fewest
        if more > 0 and _is_waiting(slot.name, state, sight.situation.now):
            more = int(min(more, room))
            room -= more
            slot = replace(slot, fewest=slot.fewest + more)
        kept.append(slot)
    return tuple(kept)


def _enough(needed: int, replicas: dict[str, int], sight: Sight) -> int | None:
    """Which of the replicas the load needs, where some are there only because they wait for nodes."""
    total = sum(replicas.values())
    if not sight.stuck and needed >= total:
        return None
    return max(min(needed, total) - sight.stuck, sum(slot.fewest for slot in sight.situation.slots))


def _is_waiting(name: str, state: ScalingState, now: float) -> bool:
    since = state.waiting_since.get(name)
    return since is not None and now - since < NODE_PATIENCE_SECONDS


def _decision(want: Want, step: Step, replicas: dict[str, int], sight: Sight) -> Decision:
    wanted_total = max(want.replicas, want.needed)
    is_limited = step.total != wanted_total
    limit = step.limit if is_limited else None
    return Decision(
        replicas=replicas,
        rule=limit or want.rule,
        message=told(want.message, wanted_total, step.words if is_limited else "", step.total),
        is_limited=is_limited,
        limit=limit,
        wanted_total=wanted_total,
    )
