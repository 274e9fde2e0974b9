"""What one replica carries within the objective, learned from what was seen.

The evidence is a curve: for each load of a replica (bins of 8% on a logarithmic scale) how many requests there were
and how many of them were late. More load never makes fewer requests late, so the curve is fitted as a monotone one
(isotonic regression by pooling adjacent violators; Barlow et al., Statistical Inference under Order Restrictions,
1972). A replica carries the load at which the curve crosses the share of late requests that is aimed at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tfserving_operator.autoscaling.floor_guard import LoadSeen, is_hopeless, worth_having
from tfserving_operator.autoscaling.outcomes import late_between

BIN_GROWTH = 1.08
_LOG_GROWTH = math.log(BIN_GROWTH)
HALF_LIFE_SECONDS = 3600.0
"""Of evidence near the load of a new sample, in seconds of traffic like it."""
_NEARBY_BINS = 6
_FAR_HALF_LIFE_SECONDS = 86_400.0
"""Of evidence at other loads: the knee that was found by day is still known after the night."""
CONTRADICTED_KEEPS = 0.8
"""What a sample leaves of the evidence that it contradicts: the same server, another truth."""
MOST_EVIDENCE = 40_000.0
"""Requests that a bin remembers: twenty samples; older ones make room, so that a bin follows within minutes."""
SAMPLE_EVIDENCE = 2000.0
"""Requests that one sample counts for at most: within a window, requests fare alike."""
PRIOR_EVIDENCE = 400.0
"""Before it is shown late, a bin is taken to be as good as what is aimed at, with this weight: what a few late requests
say of a load that is hardly ever reached keeps nobody from reaching it."""
SEED_EVIDENCE = 4000.0
_SEED_TOO_MUCH = 100 / 9
"""Times the aim that is late at 15% more than a replica is said to carry: a tenth where 1% is promised."""
BOLDEST_STEP = 1.2
"""A load up to this much above what was seen to be good is tried: a fifth more is seldom from good to hopeless."""
STEEPNESS = 4.0
"""By how many percent the late share grows for one percent of load below the knee, at least about: 2 on a single server
that a request keeps busy for half of the objective (two must be ahead of it to make it late), 8 to 15 at 99% in queues
of one to sixteen servers with shorter requests (M/M/c)."""
NEAR = BIN_GROWTH**2
LEAST_ANSWERED = 0.25
"""Share of a load that a replica is taken to answer at least."""
_LEAST_EVIDENCE = 2.0
"""Requests below which a bin is forgotten: few, as at some requests a second a window has no more than that."""
_NO_REQUESTS = 1e-6
"""Fewer are a rounding error."""
_MOST_BINS = 48
_LEAST_LATE = 1e-5


@dataclass(frozen=True, slots=True)
class LoadBin:
    """What was seen at about one load of a replica; the counts fade."""

    step: int
    """Logarithm of the load, in steps of ``BIN_GROWTH``."""
    requests: float
    late: float
    """Beyond the bucket edge below the objective."""
    load: float
    """Requests per second of one replica, the mean."""
    failed: float = 0.0
    """Of the late ones, those that were refused or given up: a sign of a queue that overflows."""
    late_above: float = 0.0
    """Of the late ones, those beyond the bucket edge above the objective."""
    timed: float = 0.0
    """Requests of which it is known how long they took at this load."""
    spent_seconds: float = 0.0
    """What those took together, by Little's law."""

    @property
    def mean_seconds(self) -> float:
        """What a request took; 0 where that is not known."""
        return self.spent_seconds / self.timed if self.timed > 0 else 0.0

    @property
    def answered(self) -> float:
        """Requests per second that were not refused: a replica that refuses some answers as many as it ever can.

        At least a part of the load: one that refuses nearly all is more than overloaded.
        """
        return self.load * max(LEAST_ANSWERED, 1 - self.failed / self.requests)


@dataclass(frozen=True, slots=True)
class CapacityEstimate:
    """What is known of one replica. Rates are requests per second."""

    carries: float
    """Within what is aimed at; where the objective cannot be kept, at the best share that was seen."""
    hopeful: float
    """What it may carry as well: a step beyond what was seen, where nothing says that it is too much."""
    confidence: float
    """0 (a guess) to 1 (seen from both sides, recently)."""
    is_bounded: bool
    """Whether a load near it was seen to be too much; if not, ``carries`` is only what was tried so far."""
    late_at_best: float = 0.0
    """Share of late requests at the lowest load that was seen."""
    cannot_be_kept: bool = False
    """Even at little load the objective is not kept, and less load did not make it better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSample:
    """What one pool did over a window in which its replicas were steady."""

    load: float
    """Requests per second of one replica."""
    requests: float
    """Requests of the pool that this sample adds."""
    late_share: float
    """At the bucket edge below the objective."""
    failed_share: float
    seconds: float
    """Length of the window, as far as it is new."""
    late_above_share: float | None = None
    """At the bucket edge above the objective; None where it is not known."""
    mean_seconds: float = 0.0
    """What a request took; 0 where that is not known, or says nothing of this load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityCurve:
    """The evidence of one pool."""

    bins: tuple[LoadBin, ...] = ()
    """By increasing load."""
    place: float = 0.0
    """Where the objective lies between two bucket edges, 0 at the one below."""

    @classmethod
    def seeded(cls, carries: float, *, confidence: float, aim: float) -> CapacityCurve:
        """Return a curve that says ``carries`` with little evidence, so that what is seen soon counts for more."""
        if carries <= 0 or confidence <= 0:
            return cls()
        evidence = SEED_EVIDENCE * confidence
        good = _bin_at(0.98 * carries, evidence, 0.8 * aim * evidence)
        bins = [good]
        if confidence > 0.5:
            bins.append(_bin_at(1.15 * carries, evidence, min(1.0, _SEED_TOO_MUCH * aim) * evidence))
        return cls(bins=tuple(bins))

    def late_of(self, late: float, late_above: float, requests: float) -> float:
        """Return how many of ``requests`` were late at the objective, where so many were at the edges around it.

        Few requests say little of what is rare: none at the edge above stands for as few as elsewhere on the curve.
        """
        rare = (sum(each.late_above for each in self.bins) + 0.5) / (sum(each.late for each in self.bins) + 1.0)
        return late_between(late, late_above, requests=requests, place=self.place, fewest=min(0.5, rare * late))

    def learned(self, sample: LoadSample, *, aim: float) -> CapacityCurve:
        """Return the curve with one more sample; ``aim`` is the share of late requests that is aimed at."""
        if sample.load <= 0 or sample.requests < _NO_REQUESTS:
            return self
        evidence = min(sample.requests, SAMPLE_EVIDENCE)
        new = _bin_at(sample.load, evidence, sample.late_share * evidence, sample.failed_share * evidence)
        if sample.mean_seconds > 0:
            new = replace(new, timed=evidence, spent_seconds=sample.mean_seconds * evidence)
        if sample.late_above_share is not None:
            new = replace(new, late_above=sample.late_above_share * evidence)
        late_share = self._late_share(new)
        near, far = (0.5 ** (sample.seconds / life) for life in (HALF_LIFE_SECONDS, _FAR_HALF_LIFE_SECONDS))
        kept: list[LoadBin] = []
        for each in self.bins:
            keep = near if abs(each.step - new.step) <= _NEARBY_BINS else far
            if self._contradicts(each, new, late_share, aim):
                keep *= CONTRADICTED_KEEPS
            if each.step == new.step:
                new = _together(_faded(each, min(keep, (MOST_EVIDENCE - evidence) / each.requests)), new)
            elif each.requests * keep >= _LEAST_EVIDENCE:
                kept.append(_faded(each, keep))
        kept.append(new)
        if len(kept) > _MOST_BINS:
            kept.remove(min(kept, key=lambda each: each.requests))
        return replace(self, bins=tuple(sorted(kept, key=lambda each: each.step)))

    def estimate(self, *, aim: float, promised: float, may_be_hopeless: bool = True) -> CapacityEstimate | None:
        """Return what a replica carries while the share of late requests is ``aim``; None where nothing is known.

        ``promised`` is the share that may be late by the objective. Unless ``may_be_hopeless``, less load is expected
        to help, whatever was seen.
        """
        if not self.bins:
            return None
        late = _fitted([(each.requests, self._late_share(each)) for each in self.bins], aim)
        if late[0] > aim:
            lowest = self.bins[0]
            seen = self._seen()
            if may_be_hopeless and is_hopeless(seen, fitted=late, promised=promised):
                carries = worth_having(seen, step=BOLDEST_STEP)
                return CapacityEstimate(carries, carries, 0.3, True, late[0], cannot_be_kept=True)
            guess = (0.9 - 0.3 * min(1.0, late[0])) * lowest.answered
            return CapacityEstimate(guess, guess, 0.2 * _weight(lowest), True, late[0])
        last_good = max(index for index, share in enumerate(late) if share <= aim)
        good = self.bins[last_good]
        hopeful = good.load * _step_beyond(late[last_good], aim)
        if last_good == len(self.bins) - 1:
            return CapacityEstimate(good.load, hopeful, 0.5 * _weight(good), False, late[0])
        bad = self.bins[last_good + 1]
        too_much = max(good.load, bad.answered)
        carries = _crossing(good.load, late[last_good], too_much, late[last_good + 1], aim)
        nearness = min(1.0, NEAR * good.load / bad.load)
        confidence = nearness * min(_weight(good), _weight(bad))
        hopeful = max(carries, min(hopeful, bad.load / BIN_GROWTH))
        return CapacityEstimate(carries, hopeful, confidence, nearness == 1.0, late[0])

    def _late_share(self, each: LoadBin) -> float:
        return self.late_of(each.late, each.late_above, each.requests) / each.requests

    def _contradicts(self, each: LoadBin, new: LoadBin, late_share: float, aim: float) -> bool:
        """Whether a bin was better at more load than the new sample, or worse at less."""
        if late_share > 2 * aim:
            return each.step > new.step + 1 and self._late_share(each) <= max(aim, late_share / 2)
        return each.step < new.step - 1 and self._late_share(each) > 2 * aim

    def _seen(self) -> list[LoadSeen]:
        return [
            LoadSeen(
                load=each.load,
                answered=each.answered,
                requests=each.requests,
                late_share=self._late_share(each),
                failed_share=each.failed / each.requests,
                mean_seconds=each.mean_seconds,
            )
            for each in self.bins
        ]


def _bin_at(load: float, requests: float, late: float, failed: float = 0.0) -> LoadBin:
    return LoadBin(round(math.log(load) / _LOG_GROWTH), requests, late, load, failed, late)


def _faded(each: LoadBin, keep: float) -> LoadBin:
    return LoadBin(
        each.step,
        each.requests * keep,
        each.late * keep,
        each.load,
        each.failed * keep,
        each.late_above * keep,
        each.timed * keep,
        each.spent_seconds * keep,
    )


def _together(one: LoadBin, other: LoadBin) -> LoadBin:
    requests = one.requests + other.requests
    load = (one.load * one.requests + other.load * other.requests) / requests
    return LoadBin(
        one.step,
        requests,
        one.late + other.late,
        load,
        one.failed + other.failed,
        one.late_above + other.late_above,
        one.timed + other.timed,
        one.spent_seconds + other.spent_seconds,
    )


def _fitted(bins: Sequence[tuple[float, float]], aim: float) -> list[float]:
    """The share of late requests in each bin, made to rise with the load by pooling adjacent violators.

    ``bins`` are requests and the share of late ones.
    """
    blocks: list[tuple[float, float, int]] = []
    for requests, late_share in bins:
        weight = requests + PRIOR_EVIDENCE
        block = ((requests * late_share + 0.7 * aim * PRIOR_EVIDENCE) / weight, weight, 1)
        while blocks and blocks[-1][0] >= block[0]:
            share, other, count = blocks.pop()
            together = other + block[1]
            block = ((share * other + block[0] * block[1]) / together, together, count + block[2])
        blocks.append(block)
    return [share for share, _, count in blocks for _ in range(count)]


def _crossing(good_load: float, good_late: float, bad_load: float, bad_late: float, aim: float) -> float:
    """The load between two at which the logarithm of the late share, a straight line over it, is that of ``aim``."""
    low, high, middle = (math.log(max(share, _LEAST_LATE)) for share in (good_late, bad_late, aim))
    part = (middle - low) / (high - low) if high > low else 0.0
    return good_load * math.pow(bad_load / good_load, min(1.0, max(0.0, part)))


def _step_beyond(late: float, aim: float) -> float:
    """By how much more than a load with a share ``late`` of late requests is likely to be carried too."""
    return min(BOLDEST_STEP, math.pow(aim / max(late, _LEAST_LATE), 1 / STEEPNESS))


def _weight(each: LoadBin) -> float:
    return each.requests / (each.requests + SAMPLE_EVIDENCE / 2)
