"""States of servables as others see them, kept for every version that was ever managed."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Collection
from dataclasses import dataclass

from e2e.modelserver.statuses import OK, Status


class State(enum.IntEnum):
    """States in the numbering of GetModelStatus."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True, order=True)
class ServableId:
    """A model and one of its versions."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"{{name: {self.name} version: {self.version}}}"


@dataclass(frozen=True)
class VersionState:
    """A version's state and, once it has ended, why."""

    state: State
    health: Status = OK


class StateMonitor:
    """The last state of each version, newest version first, and waiting for first versions."""

    def __init__(self) -> None:
        self._states: dict[str, dict[int, VersionState]] = {}
        self._changed = asyncio.Event()

    def record(self, servable: ServableId, state: VersionState) -> None:
        self._states.setdefault(servable.name, {})[servable.version] = state
        self._changed.set()
        self._changed = asyncio.Event()

    def versions(self, name: str) -> dict[int, VersionState]:
        """Return the states of all versions of model ``name``, newest first; empty when it has none."""
        return dict(sorted(self._states.get(name, {}).items(), reverse=True))

    def version(self, servable: ServableId) -> VersionState | None:
        return self._states.get(servable.name, {}).get(servable.version)

    async def wait_for_models(self, names: Collection[str]) -> dict[ServableId, VersionState]:
        """Return the version of each model that decided it, once each has one AVAILABLE or END.

        There is no timeout: a model without any version is waited for until it has one.
        """
        while True:
            decided = {name: self._decided(name) for name in names}
            if all(decided.values()):
                return dict(sorted((entry for entry in decided.values() if entry), key=lambda entry: entry[0]))
            await self._changed.wait()

    def _decided(self, name: str) -> tuple[ServableId, VersionState] | None:
        for version, state in self.versions(name).items():
            if state.state in (State.AVAILABLE, State.END):
                return ServableId(name, version), state
        return None


def describe_unavailable(states: dict[ServableId, VersionState], noun: str) -> str | None:
    """Return the message for those of ``states`` that are not AVAILABLE, None when all are."""
    failed = {servable: state for servable, state in states.items() if state.state is not State.AVAILABLE}
    if not failed:
        return None
    details = "".join(
        f"{{{servable}{'' if state.health.ok else f' due to error: {state.health}'}}}, "
        for servable, state in failed.items()
    )
    return f"{len(failed)} {noun} did not become available: {{{details}}}"
