"""Whether the objective can be kept at all, and what a replica carries where it cannot.

Where the service time alone exceeds the objective, requests are late however little load a replica has, and more
replicas cost without helping. That much less load does not help is the sign of it: in a queue it always would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LESS_LOAD = 1.6
"""A load lower by this factor is much lower: in a queue at the knee it leaves a tenth of the late requests."""
SAME_SHARE = 0.6
"""A share of late requests that is this part of another, or more, is no better."""
SAME_TIME = 0.8
"""The same of the time that a request takes."""
JUST_BELOW = 0.93
"""Of a load that made it worse: one step of the evidence below it."""
FEWEST_REQUESTS = 200.0
"""Evidence at the lowest load, so that a share of a percent shows at all."""
MOST_LATE = 1.5
LONGEST = 1.3
MOST_FAILED = 0.05
"""Where the objective cannot be kept, a replica carries as much as makes no more than 1.5 times as many requests late
as at best, takes no more than 1.3 times as long, and refuses no more than 5%: one server is idle for two thirds to
three quarters of the time then (M/D/1, M/M/1), so it is far from overload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSeen:
    """How requests fared at one load of a replica. Rates are requests per second, shares those of the requests."""

    load: float
    answered: float
    """Without those that were refused."""
    requests: float
    late_share: float
    failed_share: float
    mean_seconds: float
    """What a request took; 0 where that is not known."""


def is_hopeless(seen: Sequence[LoadSeen], *, fitted: Sequence[float], promised: float) -> bool:
    """Whether too many are late at the lowest load, and much less load than elsewhere did not make it better.

    ``seen`` is by increasing load, ``fitted`` the share of late requests at each when more load makes no fewer late,
    and ``promised`` the share that may be late.
    """
    lowest = seen[0]
    higher = next((index for index, each in enumerate(seen) if each.load >= LESS_LOAD * lowest.load), None)
    return (
        higher is not None
        and fitted[0] > promised
        and fitted[0] >= SAME_SHARE * fitted[higher]
        and not _is_of_before(seen[higher], lowest)
        and lowest.requests >= FEWEST_REQUESTS
        and lowest.failed_share <= MOST_FAILED
    )


def worth_having(seen: Sequence[LoadSeen], *, step: float) -> float:
    """Return the load that is worth having where the objective cannot be kept: well below the one that makes it worse.

    What is late anyway says nothing of that when it is all of them; what a request takes on average does. Load beyond
    what was seen is tried by a factor of ``step``, but not where nobody knows how long requests take.
    """
    best = seen[0]
    good = best
    for each in seen:
        if _is_of_before(each, best):
            break
        if best.mean_seconds > 0 and each.mean_seconds <= 0:
            continue  # Its requests waited for others that came before, and say nothing of this load.
        is_slow = each.mean_seconds > LONGEST * best.mean_seconds
        if is_slow or each.late_share > MOST_LATE * best.late_share or each.failed_share > MOST_FAILED:
            return max(good.load, min(step * good.load, JUST_BELOW * each.answered))
        good = each
    return step * good.load if best.mean_seconds > 0 else good.load


def _is_of_before(higher: LoadSeen, lowest: LoadSeen) -> bool:
    """Whether more load was much better: that was before the service time changed, and says nothing of now."""
    is_faster = 0 < higher.mean_seconds < SAME_TIME * lowest.mean_seconds
    return is_faster or higher.late_share < SAME_SHARE * lowest.late_share
