"""Policy Latency: provides for the load to come at what a replica was seen to carry within the objective.

Feed-forward first: load expected while a replica starts / what a replica carries. Three slower loops correct it:
replicas are added when requests are late although the load should be carried (trim), fewer are tried while nothing
shows how much a replica carries (probe), and the margin for surprises grows and shrinks so that the share of late
requests over hours ends just below what is promised (error budget).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from tfserving_operator.autoscaling.allocation import Mix, mix_for
from tfserving_operator.autoscaling.decision import ScalingRule
from tfserving_operator.autoscaling.error_budget import PLANNED, ErrorBudget, leeway, price_of_late
from tfserving_operator.autoscaling.forecast import RateForecast
from tfserving_operator.autoscaling.overload import Backlog
from tfserving_operator.autoscaling.patience import Patience
from tfserving_operator.autoscaling.policy import Situation, Want
from tfserving_operator.autoscaling.recurrence import Recurrence

COMFORTABLE_SHARE = 0.3
"""Of the late requests that are promised at most; below, fewer replicas may be tried."""
MOST_GROWTH = 1.25
"""A load is not expected to grow by more than this beyond what was just seen: what does grow so is soon seen."""
TICK_SECONDS = 2.0
TRIM_HALF_LIFE_SECONDS = 300.0
TRIM_GAIN = 2.0
LEAST_TRIM, MOST_TRIM = 0.05, 1.0
_SIGNIFICANCE = 3.0
"""Standard deviations by which late requests must exceed what is promised before replicas are added for them."""
_FEWEST_LATE = 4
"""Late requests of one window, on top: among the ten of a quiet night one or two say nothing."""


@dataclass(frozen=True, slots=True)
class LatencyState:
    """What the policy remembers. Times are epoch seconds."""

    forecast: RateForecast
    budget: ErrorBudget
    backlog: Backlog = field(default_factory=Backlog)
    trim: float = 1.0
    """Replicas are multiplied by this; it fades to 1."""
    trimmed_at: float = 0.0
    """When ``trim`` was last brought up to date."""
    patience: Patience = field(default_factory=Patience)
    recurrence: Recurrence = field(default_factory=Recurrence)
    aim: float | None = None
    """Share of late requests that replicas are sized for; None before anything was seen."""
    surge_at: float | None = None
    """When the panic threshold was last exceeded; None outside a surge."""


class LatencyPolicy:
    """want = load to come / what one replica carries, trimmed by what is late."""

    def initial(self) -> LatencyState:
        """Return the state of a policy that has seen nothing."""
        return LatencyState(RateForecast.initial(), ErrorBudget())

    def decide(self, situation: Situation, state: LatencyState) -> tuple[Want, LatencyState]:
        """Return the replicas that carry the load that is expected."""
        state = _observed(situation, state)
        state = _next_surge(situation, state)
        spent = state.budget.spent(
            situation.promised, prior_requests=1800 * max(1.0, state.forecast.level), place=situation.place
        )
        # Where no replica helps, more of them are worth no more than usual, however much is late.
        price = price_of_late(min(spent, PLANNED) if _is_hopeless(situation) else spent)
        aim = situation.promised * leeway(spent)
        state = replace(state, aim=aim, patience=_next_patience(situation, state, price))
        demand = _demand(situation, state, price)
        state = replace(state, recurrence=_next_recurrence(situation, state, demand))
        demand = _with_recurring(situation, state, demand, price)
        plan = _planned(situation, demand.rate, state.trim)
        if plan is None:
            return _unknown(situation, demand.rate), state
        trim = _needed_trim(situation, plan, state.trim)
        if trim > state.trim:
            state = replace(state, trim=trim)
            plan = _planned(situation, demand.rate, trim) or plan
        return _want(situation, state, demand, plan), state


@dataclass(frozen=True, slots=True)
class _Demand:
    """The load to provide for, in requests per second."""

    rate: float
    when: str
    """Words for what load it is."""
    left_out: float | None = None
    """What comes too seldom to be worth the replica that it would take; None where nothing was left out."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """Replicas for a load, and how it was found."""

    mix: Mix
    carries: float
    """Requests per second of one replica that it reckons with."""
    is_probe: bool = False


def _observed(situation: Situation, state: LatencyState) -> LatencyState:
    """Take in the newest sample; a state whose numbers are only a lower bound teaches nothing lasting."""
    load = situation.load
    faded = state
    elapsed = situation.now - state.trimmed_at
    if elapsed > 0:
        trim = 1.0 + (state.trim - 1.0) * 0.5 ** (elapsed / TRIM_HALF_LIFE_SECONDS)
        faded = replace(state, trim=trim if trim > 1.001 else 1.0, trimmed_at=situation.now)
    if situation.known_rate is None:
        return faded
    forecast = faded.forecast.observed(
        situation.known_rate, at=datetime.fromtimestamp(load.at, UTC), window_seconds=load.window_seconds
    )
    budget = faded.budget
    if not situation.is_upward_only:
        budget = budget.with_sample(
            load.answerable_per_second,
            load.late_below_per_second,
            at=load.at,
            late_above_per_second=load.late_above_per_second,
        )
    return replace(faded, forecast=forecast, budget=budget, backlog=faded.backlog.after(load))


def _next_surge(situation: Situation, state: LatencyState) -> LatencyState:
    """Begin, prolong or end a surge (the panic of Knative's autoscaler, on what replicas were measured to carry)."""
    spec = situation.spec
    weakest = min((each.carries for each in situation.serving_estimates.values()), default=0.0)
    carried = weakest * situation.load.ready * spec.panic_threshold_percent / 100
    if 0 < carried <= situation.history.mean(spec.panic_window_seconds):
        return replace(state, surge_at=situation.now)
    if state.surge_at is not None and situation.now - state.surge_at > spec.stable_window_seconds:
        return replace(state, surge_at=None)
    return state


def _demand(situation: Situation, state: LatencyState, price: float) -> _Demand:
    worthwhile = state.forecast.worthwhile_peak(
        now=situation.moment,
        horizon_seconds=situation.start_up_seconds + TICK_SECONDS,
        exchange=price,
        unit=_whole_replica(situation, state),
    )
    peak = worthwhile.rate
    seen = situation.history.newest if situation.known_rate is None else situation.known_rate
    if situation.history.bins:
        peak = min(peak, MOST_GROWTH * situation.history.peak(2 * situation.load.window_seconds))
    backlog = state.backlog.demand(situation.load, seen)
    if backlog > seen or situation.known_rate is None or state.surge_at is not None:
        peak = max(peak, backlog)
    held = _held(situation, state, price)
    if held > peak:
        return _Demand(held, "of the last minutes may be back")
    return _Demand(peak, "expected", left_out=worthwhile.left_out if peak == worthwhile.rate else None)


def _whole_replica(situation: Situation, state: LatencyState) -> float:
    """What the last replica carries that may be saved, in requests per second; 0 where none may be."""
    if state.surge_at is not None or state.trim > 1.0:
        return 0.0
    return min((each.carries for each in situation.estimates.values()), default=0.0)


def _next_recurrence(situation: Situation, state: LatencyState, demand: _Demand) -> Recurrence:
    if situation.known_rate is None or situation.is_upward_only:
        return state.recurrence
    lead = _late_seconds(situation)
    known = state.recurrence.after(
        situation.known_rate,
        demand.rate,
        at=situation.load.at,
        window_seconds=situation.load.window_seconds,
        lead_seconds=lead,
    )
    return known.recalling(now=situation.now, lead_seconds=lead)


def _with_recurring(situation: Situation, state: LatencyState, demand: _Demand, price: float) -> _Demand:
    """The load of this minute in past hours, where it is more: it never takes a replica away."""
    if situation.known_rate is None or situation.is_upward_only:
        return demand
    rate = state.recurrence.expected(lead_seconds=_late_seconds(situation), price=price)
    return _Demand(rate, "as at this minute of past hours expected") if rate > demand.rate else demand


def _held(situation: Situation, state: LatencyState, price: float) -> float:
    """The load that was here a moment ago and may be back; nothing where the user says how long to wait."""
    if situation.spec.behavior.scale_down.stabilization_window_seconds is not None:
        return 0.0
    return state.patience.held(at=situation.load.at, late_seconds=_late_seconds(situation), price=price)


def _next_patience(situation: Situation, state: LatencyState, price: float) -> Patience:
    if situation.known_rate is None:
        return state.patience
    return state.patience.after(
        situation.known_rate,
        at=situation.load.at,
        window_seconds=situation.load.window_seconds,
        late_seconds=_late_seconds(situation),
        shortest_seconds=situation.start_up_seconds,
        price=price,
    )


def _late_seconds(situation: Situation) -> float:
    """How long requests are late after a burst: until it is seen, and until replicas have started."""
    return situation.load.window_seconds + situation.start_up_seconds


def _planned(situation: Situation, demand: float, trim: float) -> _Plan | None:
    """Return the replicas for ``demand``: at what is proven, or a little more where nobody knows how much more."""
    bold = _mix(situation, demand * trim, is_bold=True)
    if bold is None:
        return None
    if bold.total >= situation.current:
        return _plan(situation, bold)
    safe = _mix(situation, demand * trim, is_bold=False) or bold
    if safe.total == bold.total or not _may_probe(situation):
        if safe.total >= situation.current:
            safe = replace(safe, total=situation.current, needed=situation.current)
        return _plan(situation, safe)
    return replace(_plan(situation, bold), is_probe=True)


def _plan(situation: Situation, mix: Mix) -> _Plan:
    return _Plan(mix, mix.carries / max(1, mix.total + situation.fixed.ready))


def _mix(situation: Situation, demand: float, *, is_bold: bool) -> Mix | None:
    slots = tuple(replace(slot, capacity=_carries(situation, slot.name, is_bold)) for slot in situation.slots)
    return mix_for(demand, slots, situation.fixed, situation.spec.fill, situation.split)


def _carries(situation: Situation, name: str, is_bold: bool) -> float | None:
    estimate = situation.estimates.get(name)
    if estimate is None:
        return None
    return estimate.hopeful if is_bold else estimate.carries


def _may_probe(situation: Situation) -> bool:
    load = situation.load
    is_comfortable = load.late_per_second <= COMFORTABLE_SHARE * situation.aim * load.answerable_per_second
    return situation.is_steady and situation.pending == 0 and is_comfortable


def _needed_trim(situation: Situation, plan: _Plan, trim: float) -> float:
    """Return by how much to multiply replicas because requests are late although the load should be carried."""
    load = situation.load
    if not situation.is_steady or situation.pending or plan.mix.total > situation.current or load.ready == 0:
        return trim
    if _is_hopeless(situation):
        return trim
    if situation.history.mean(2 * load.window_seconds) > plan.carries * load.ready:
        return trim
    requests = load.answerable_per_second * load.window_seconds
    late = load.late_per_second * load.window_seconds
    allowed = max(situation.promised, situation.aim) * requests
    if late <= allowed + _SIGNIFICANCE * math.sqrt(allowed) + _FEWEST_LATE:
        return trim
    boost = min(MOST_TRIM, max(LEAST_TRIM, TRIM_GAIN * (late - allowed) / requests))
    wanted = math.ceil(load.ready * (1 + boost) - 1e-9)
    return min(4.0, max(trim, trim * (wanted - 0.5) / max(1, plan.mix.total + situation.fixed.ready)))


def _is_hopeless(situation: Situation) -> bool:
    return any(each.cannot_be_kept for each in situation.serving_estimates.values())


def _want(situation: Situation, state: LatencyState, demand: _Demand, plan: _Plan) -> Want:
    rule = ScalingRule.FORECAST
    words = (
        f"{demand.rate:.4g} requests/s {demand.when} within {situation.start_up_seconds:.0f}s"
        f" at {plan.carries:.4g} a replica"
    )
    if demand.left_out is not None:
        words += f" ({demand.left_out:.4g} at times, not worth one more)"
    if state.surge_at is not None:
        rule = ScalingRule.PANIC
    elif _is_hopeless(situation):
        rule = ScalingRule.REPLICAS_CANNOT_HELP
        best = min(each.late_at_best for each in situation.serving_estimates.values() if each.cannot_be_kept)
        words += f", of which {best:.2%} are late even at little load, so that more replicas would not help:"
    elif state.trim > 1.0:
        rule = ScalingRule.LATENCY_TRIM
        words += f", and {state.trim - 1:.0%} more as too many requests were late,"
    elif plan.is_probe:
        rule = ScalingRule.PROBE
        words += " (tried, as nothing was late)"
    return Want(
        replicas=min(plan.mix.total, plan.mix.needed),
        rule=rule,
        message=words,
        order=plan.mix.order,
        needed=plan.mix.needed if plan.mix.needed > plan.mix.total else 0,
        is_surge=state.surge_at is not None,
        # No load needs no proof of what a replica carries.
        is_cautious=situation.is_unproven and demand.rate > 0,
    )


def _unknown(situation: Situation, demand: float) -> Want:
    if demand <= 0 and not situation.is_upward_only:
        return Want(replicas=0, rule=ScalingRule.FORECAST, message="no requests are expected, so this policy")
    return Want(
        replicas=situation.current,
        rule=ScalingRule.FORECAST,
        message=f"{demand:.4g} requests/s expected; what a replica carries is not known yet and this policy",
    )
