"""What kopf does for us: it watches ServedModels, keeps them in an index, and names those that changed.

An index and ``on.event`` write nothing: no annotation, no finalizer, no status.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Protocol

import kopf

from tfserving_operator.api.refs import ModelKey
from tfserving_operator.api.servedmodel import GROUP, PLURAL, VERSION
from tfserving_operator.reconcile.queue import Priority

INDEX: Final = "models"

RawObject = Mapping[str, Any]


class Enqueue(Protocol):
    """Makes a key due."""

    def __call__(self, key: ModelKey, priority: Priority) -> None:
        """Make ``key`` due at ``priority``."""


def register_watch(registry: kopf.OperatorRegistry, enqueue: Enqueue) -> None:
    """Add the handlers of ServedModels to ``registry``."""

    @kopf.index(GROUP, VERSION, PLURAL, id=INDEX, registry=registry)
    async def index_model(body: kopf.Body, **_: Any) -> dict[ModelKey, RawObject]:
        metadata = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
        return {_key(body): {**body, "metadata": metadata}}

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def enqueue_model(body: kopf.Body, event: kopf.RawEvent, **_: Any) -> None:
        # kopf's first list after a start has no event type: that is the whole fleet.
        enqueue(_key(body), Priority.BACKLOG if event["type"] is None else Priority.CHANGE)


def _key(body: RawObject) -> ModelKey:
    return ModelKey(body["metadata"]["namespace"], body["metadata"]["name"])


def _newest(bodies: Iterable[RawObject]) -> RawObject | None:
    """Return the newest of the objects of one name.

    After a watch that has expired kopf lists again, and keeps what was deleted meanwhile: one that was made anew stands
    beside the one before.
    """
    return max(bodies, key=lambda body: int(body["metadata"]["resourceVersion"]), default=None)


def models_in(index: kopf.Index[ModelKey, RawObject]) -> Callable[[ModelKey], RawObject | None]:
    """Return a look-up of ServedModels as the API server has them; None for one that does not exist."""

    def model(key: ModelKey) -> RawObject | None:
        return _newest(index[key]) if key in index else None

    return model


def all_models_in(index: kopf.Index[ModelKey, RawObject]) -> Callable[[], Iterator[tuple[ModelKey, RawObject]]]:
    """Return a look at all ServedModels as the API server has them."""

    def models() -> Iterator[tuple[ModelKey, RawObject]]:
        for key, bodies in index.items():
            body = _newest(bodies)
            if body is not None:
                yield key, body

    return models
