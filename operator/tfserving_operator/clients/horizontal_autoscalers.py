"""Which HorizontalPodAutoscalers scale what: KEDA makes such objects too, so these are all that there are.

They are listed now and then, and only while somebody asks: each of them changes its status every 15 seconds, so a
watch would bring far more than the one field that counts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from tfserving_operator.api.refs import ModelKey
from tfserving_operator.api.servedmodel import GROUP, KIND
from tfserving_operator.clients.errors import ClientError, NotFound, Rejected
from tfserving_operator.clients.kinds import HORIZONTAL_POD_AUTOSCALERS
from tfserving_operator.clients.kube import KubeClient

log = logging.getLogger(__name__)

LIST_INTERVAL: Final = timedelta(seconds=15)
_PAUSE_SECONDS: Final = 1.0
"""Between two lists, however much they are wanted."""

Target = tuple[str, str, str, str]
"""Namespace, API group, kind and name."""


class HorizontalAutoscalers:
    """The autoscalers of all namespaces that are looked after, as last listed."""

    def __init__(self, kube: KubeClient, *, namespaces: Sequence[str] = (), clock: Callable[[], datetime]) -> None:
        self._kube = kube
        self._namespaces: tuple[str | None, ...] = tuple(namespaces) or (None,)
        self._clock = clock
        self._names: Mapping[Target, str] = {}
        self._tried_at: datetime | None = None
        self._listed_at: datetime | None = None
        self._are_listable = True
        self._due = asyncio.Event()

    def ask(self, *, since: datetime) -> None:
        """Keep them known, from a list that is not older than ``since``; one that is a while old is made anew."""
        is_old = self._tried_at is None or self._clock() - self._tried_at >= LIST_INTERVAL
        if is_old or not self.are_known_since(since):
            self._due.set()

    def are_known_since(self, moment: datetime) -> bool:
        """Whether they were listed after ``moment``, as far as they may be listed."""
        return self._listed_at is not None and self._listed_at >= moment

    def scaling(self, key: ModelKey, deployments: Sequence[str]) -> str | None:
        """Return the name of one that scales the ServedModel or one of its Deployments."""
        targets = [(key.namespace, GROUP, KIND, key.name)]
        targets += [(key.namespace, "apps", "Deployment", name) for name in deployments]
        return next((self._names[target] for target in targets if target in self._names), None)

    async def run(self) -> None:
        """List when asked, until cancelled."""
        while True:
            await self._due.wait()
            self._due.clear()
            self._tried_at = self._clock()
            await self._list(self._tried_at)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _list(self, began: datetime) -> None:
        names: dict[Target, str] = {}
        refused: list[ClientError] = []
        for namespace in self._namespaces:
            try:
                names.update([each async for each in self._targets(namespace)])
            except (NotFound, Rejected) as error:
                refused.append(error)
            except ClientError as error:
                log.warning("autoscalers could not be listed", extra={"error": str(error)})
                return
        if refused and self._are_listable:
            log.warning("cannot see whether others scale too: autoscalers may not be listed", exc_info=refused[0])
        self._are_listable, self._names, self._listed_at = not refused, names, began

    async def _targets(self, namespace: str | None) -> AsyncIterator[tuple[Target, str]]:
        token: str | None = None
        while True:
            page = await self._kube.list_page(HORIZONTAL_POD_AUTOSCALERS, namespace=namespace, continue_token=token)
            for item in page.items:
                yield _target_of(item), item["metadata"]["name"]
            token = page.continue_token
            if not token:
                return


def _target_of(autoscaler: Mapping[str, Any]) -> Target:
    target = autoscaler["spec"]["scaleTargetRef"]
    group, _, _version = target.get("apiVersion", "").rpartition("/")
    return autoscaler["metadata"]["namespace"], group, target["kind"], target["name"]
