"""What the model servers said last, and asking those again whose answer is old."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tfserving_operator.clients.model_service import Unknown
from tfserving_operator.reconcile.model_statuses import ModelStatuses
from tfserving_operator.reconcile.pod_view import PodView

_FRESH_SECONDS = 1.0
"""Several events at once must not ask a server several times."""


@dataclass(frozen=True)
class Answer:
    """A server's answer, and when it came."""

    statuses: ModelStatuses
    at: datetime
    silent_since: datetime | None
    """Since when the server has answered nothing; None where it answered."""


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
        pod.incarnation: Answer(answer, now, _silent_since(answer, known.get(pod.incarnation), now))
        for pod, answer in zip(due, statuses, strict=True)
    }
    old = {pod.incarnation: known[pod.incarnation] for pod in ready if pod.incarnation in known}
    return {**old, **fresh}


def _is_due(answer: Answer | None, now: datetime) -> bool:
    return answer is None or (now - answer.at).total_seconds() >= _FRESH_SECONDS


def _silent_since(answer: ModelStatuses, before: Answer | None, now: datetime) -> datetime | None:
    if not all(isinstance(versions, Unknown) for versions in answer.values()):
        return None
    return before.silent_since if before and before.silent_since else now
