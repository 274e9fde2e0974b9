"""What the model servers said last, and asking those again whose answer is old."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tfserving_operator.clients.model_service import Unknown
from tfserving_operator.reconcile.model_statuses import ModelStatuses
from tfserving_operator.reconcile.pod_view import PodView

_FRESH_SECONDS = 1.0
"""Several events at once must not ask a server several times."""
_LAST_WORD_HOLDS = timedelta(seconds=30)
"""A busy server misses a question now and then: for so long what it said of a model last counts on."""


@dataclass(frozen=True)
class Answer:
    """A server's answer, and when it came."""

    statuses: ModelStatuses
    at: datetime
    silent_since: datetime | None
    """Since when the server has answered nothing; None where it answered."""
    known_at: Mapping[str, datetime] = field(default_factory=dict)
    """When it last said something of each model."""


async def ask_servers(
    ask: Callable[[PodView], Awaitable[ModelStatuses]],
    pods: Sequence[PodView],
    known: Mapping[str, Answer],
    now: datetime,
) -> Mapping[str, Answer]:
    """Ask every ready replica whose answer is old, all at once; return the answers by the pod's incarnation."""
    ready = [pod for pod in pods if pod.is_ready and pod.ip]
    due = [pod for pod in ready if _is_due(known.get(pod.incarnation), now)]
    statuses = await asyncio.gather(*(ask(pod) for pod in due))
    fresh = {
        pod.incarnation: _answer(answer, known.get(pod.incarnation), now)
        for pod, answer in zip(due, statuses, strict=True)
    }
    old = {pod.incarnation: known[pod.incarnation] for pod in ready if pod.incarnation in known}
    return {**old, **fresh}


def _is_due(answer: Answer | None, now: datetime) -> bool:
    return answer is None or (now - answer.at).total_seconds() >= _FRESH_SECONDS


def _answer(statuses: ModelStatuses, before: Answer | None, now: datetime) -> Answer:
    known_at = {name: now for name, versions in statuses.items() if not isinstance(versions, Unknown)}
    held = {}
    for name in statuses.keys() - known_at.keys():
        last = before.known_at.get(name) if before else None
        if before is not None and last is not None and now - last < _LAST_WORD_HOLDS:
            held[name], known_at[name] = before.statuses[name], last
    return Answer({**statuses, **held}, now, _silent_since(statuses, before, now), known_at)


def _silent_since(answer: ModelStatuses, before: Answer | None, now: datetime) -> datetime | None:
    if not all(isinstance(versions, Unknown) for versions in answer.values()):
        return None
    return before.silent_since if before and before.silent_since else now
