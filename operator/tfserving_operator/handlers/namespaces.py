"""Which of the namespaces to watch may be read: the rights in one end when it is deleted.

kopf ends on the first watch that is forbidden, so one team that deletes its namespace would take the operator from all
others, at each start anew. So only namespaces that may be read are watched, and the process ends, to be started again,
when others may be.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from tfserving_operator.clients.errors import ClientError, Rejected
from tfserving_operator.clients.kinds import SERVED_MODELS
from tfserving_operator.clients.kube import KubeClient

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 10.0
"""Between two looks at the rights, each of which is a small request a namespace."""


async def readable(kube: KubeClient, namespaces: Sequence[str]) -> tuple[str, ...]:
    """Return those of ``namespaces`` in which ServedModels may be listed; ClientError where that cannot be known."""
    answers = await asyncio.gather(*(_may_be_read(kube, namespace) for namespace in namespaces))
    return tuple(namespace for namespace, may in zip(namespaces, answers, strict=True) if may)


async def until_others_are_readable(kube: KubeClient, namespaces: Sequence[str], watched: Sequence[str]) -> None:
    """Return when other ones of ``namespaces`` may be read than ``watched``; what cannot be known changes nothing."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            now = await readable(kube, namespaces)
        except ClientError:
            continue
        if set(now) != set(watched):
            log.warning("rights in namespaces changed, starting again", extra={"namespaces": list(now)})
            return


async def _may_be_read(kube: KubeClient, namespace: str) -> bool:
    try:
        await kube.list_page(SERVED_MODELS, namespace=namespace, limit=1)
    except Rejected as error:
        if error.reason == "Forbidden":
            return False
        raise
    return True
