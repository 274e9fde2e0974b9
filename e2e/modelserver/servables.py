"""Loads and unloads versions so that a model stays available: new ones first, old ones after.

One loop decides at most one action every 100 ms over all models. With no load (unload) threads of its
own it also carries the action out, retries and waits included, and decides nothing else meanwhile.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from e2e.modelserver.states import ServableId, State, StateMonitor, VersionState
from e2e.modelserver.statuses import Code, Status, StatusError, status_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from e2e.modelserver.sessions import ServingSession

log = logging.getLogger(__name__)

DECISION_INTERVAL_SECONDS = 0.1


class Phase(enum.Enum):
    """Where a managed version is between its appearance and its disposal."""

    NEW = enum.auto()
    LOADING = enum.auto()
    READY = enum.auto()
    QUIESCING = enum.auto()
    DISABLED = enum.auto()
    ERROR = enum.auto()


@dataclass(eq=False)
class Servable:
    """A version under management."""

    id: ServableId
    path: Path
    is_aspired: bool = True
    phase: Phase = Phase.NEW
    is_serving: bool = False
    session: ServingSession | None = None
    users: int = 0
    unused: asyncio.Event = field(default_factory=asyncio.Event)

    @contextmanager
    def in_use(self) -> Iterator[ServingSession]:
        """Keep the session from being unloaded while a request uses it."""
        assert self.session is not None
        self.users += 1
        self.unused.clear()
        try:
            yield self.session
        finally:
            self.users -= 1
            if self.users == 0:
                self.unused.set()


@dataclass(frozen=True)
class LoadSettings:
    """How loads and unloads are tried and how many run at the same time."""

    load_threads: int
    unload_threads: int
    max_retries: int
    retry_interval_seconds: float
    decision_interval_seconds: float = DECISION_INTERVAL_SECONDS


class ServableManager:
    """Brings what is loaded in line with what is aspired."""

    def __init__(self, load: Callable[[ServableId, Path], Awaitable[ServingSession]], settings: LoadSettings) -> None:
        self.monitors: list[StateMonitor] = []
        self._load = load
        self._settings = settings
        self._servables: dict[ServableId, Servable] = {}
        self._pending: dict[str, Mapping[int, Path]] = {}
        self._work = asyncio.Event()
        self._load_slots: asyncio.Semaphore | None = None
        self._unload_slots = _slots(settings.unload_threads)
        self._tasks: set[asyncio.Task[None]] = set()
        self._crash: BaseException | None = None

    def find(self, name: str, version: int | None) -> Servable:
        """Return the version to serve a request from; the newest available one when ``version`` is None."""
        serving = [s for s in self._servables.values() if s.id.name == name and s.is_serving]
        if version is not None:
            serving = [servable for servable in serving if servable.id.version == version]
        if not serving:
            request = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise StatusError(Code.NOT_FOUND, f"Servable not found for request: {request}")
        return max(serving, key=lambda servable: servable.id.version)

    def aspire(self, name: str, versions: Mapping[int, Path]) -> None:
        """Ask for exactly ``versions`` of model ``name``; the last word before a decision counts."""
        if name in self._pending or not self._is_settled(name, versions):
            self._pending[name] = versions
            self._work.set()

    def _is_settled(self, name: str, versions: Mapping[int, Path]) -> bool:
        managed = {s.id.version: s for s in self._servables.values() if s.id.name == name}
        return set(managed) == set(versions) and all(
            servable.is_aspired and servable.phase in (Phase.READY, Phase.ERROR, Phase.LOADING)
            for servable in managed.values()
        )

    async def run(self) -> None:
        """Decide and act for ever; raise what a load or an unload must never raise."""
        while True:
            await self._work.wait()
            if self._crash:
                raise self._crash
            self._flush()
            self._take_aspirations()
            if not await self._act() and not self._tasks and not self._has_leftovers():
                self._work.clear()
            await asyncio.sleep(self._settings.decision_interval_seconds)

    def _has_leftovers(self) -> bool:
        return bool(self._pending) or any(self._is_finished(s) for s in self._servables.values())

    def stop(self) -> None:
        """Abandon loads and unloads in progress."""
        for task in self._tasks:
            task.cancel()

    def set_initial_load_threads(self, threads: int) -> None:
        """Load with ``threads`` until ``finish_initial_load``."""
        self._load_slots = asyncio.Semaphore(threads)

    async def finish_initial_load(self) -> None:
        """Go back to the configured threads, once the loads that already run have ended, failed ones retried."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._load_slots = _slots(self._settings.load_threads)

    @staticmethod
    def _is_finished(servable: Servable) -> bool:
        return not servable.is_aspired and servable.phase in (Phase.NEW, Phase.DISABLED, Phase.ERROR)

    def _flush(self) -> None:
        for servable in [s for s in self._servables.values() if self._is_finished(s)]:
            del self._servables[servable.id]

    def _take_aspirations(self) -> None:
        for name, versions in list(self._pending.items()):
            managed = [s for s in self._servables.values() if s.id.name == name]
            # A version that is on its way out is taken up again only after it is gone.
            if any(not s.is_aspired and s.id.version in versions for s in managed):
                continue
            del self._pending[name]
            for servable in managed:
                servable.is_aspired = servable.id.version in versions
            for version in sorted(set(versions) - {s.id.version for s in managed}):
                servable = Servable(ServableId(name, version), versions[version])
                self._servables[servable.id] = servable
                self._publish(servable.id, VersionState(State.START))

    async def _act(self) -> bool:
        """Carry out one action, unloads before loads; return whether there was one."""
        names = sorted({servable.id.name for servable in self._servables.values()})
        by_name = {name: [s for s in self._servables.values() if s.id.name == name] for name in names}
        for choose, begin in ((next_unload, self._begin_unload), (next_load, self._begin_load)):
            for servables in by_name.values():
                servable = choose(servables)
                if servable is not None:
                    await begin(servable)
                    return True
        return False

    async def _begin_load(self, servable: Servable) -> None:
        servable.phase = Phase.LOADING
        await self._perform(self._load_servable(servable), self._load_slots)

    async def _begin_unload(self, servable: Servable) -> None:
        servable.phase = Phase.QUIESCING
        await self._perform(self._unload_servable(servable), self._unload_slots)

    async def _perform(self, work: Awaitable[None], slots: asyncio.Semaphore | None) -> None:
        if slots is None:
            await work
            return

        async def in_slot() -> None:
            async with slots:
                await work

        task = asyncio.create_task(in_slot())
        self._tasks.add(task)
        task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            self._crash = self._crash or task.exception()
        self._work.set()

    async def _load_servable(self, servable: Servable) -> None:
        self._publish(servable.id, VersionState(State.LOADING))
        log.info("Loading servable version %s", servable.id)
        try:
            session = await self._load_with_retries(servable)
        except StatusError as error:
            servable.phase = Phase.ERROR
            self._publish(servable.id, VersionState(State.END, error.status))
            return
        if not servable.is_aspired:
            session.close()
            servable.phase = Phase.DISABLED
            cancelled = Status(Code.CANCELLED, "Loading of servable cancelled")
            self._publish(servable.id, VersionState(State.END, cancelled))
            return
        servable.session, servable.phase, servable.is_serving = session, Phase.READY, True
        log.info("Successfully loaded servable version %s", servable.id)
        self._publish(servable.id, VersionState(State.AVAILABLE))

    async def _load_with_retries(self, servable: Servable) -> ServingSession:
        # The real server counts in unsigned 32 bits: with -1 retries it tries once, with -2 for years.
        attempts = (self._settings.max_retries + 1) % (1 << 32)
        attempt = 1
        while True:
            try:
                return await self._load(servable.id, servable.path)
            except Exception as error:
                status = status_of(error)
                log.error("Loading servable: %s failed: %s", servable.id, status)
                if attempt >= attempts or not servable.is_aspired:
                    raise StatusError(status.code, status.message) from error
            await asyncio.sleep(max(0, self._settings.retry_interval_seconds))
            log.info("Retrying of Loading servable: %s retry: %d", servable.id, attempt)
            attempt += 1

    async def _unload_servable(self, servable: Servable) -> None:
        self._publish(servable.id, VersionState(State.UNLOADING))
        servable.is_serving = False
        while servable.users:
            await servable.unused.wait()
        assert servable.session is not None
        servable.session.close()
        servable.session, servable.phase = None, Phase.DISABLED
        log.info("Done unloading servable version %s", servable.id)
        self._publish(servable.id, VersionState(State.END))

    def _publish(self, servable: ServableId, state: VersionState) -> None:
        for monitor in self.monitors:
            monitor.record(servable, state)


def next_unload(servables: list[Servable]) -> Servable | None:
    """Return the version to unload: the oldest unwanted one, if the model stays available without it."""
    aspired = [servable for servable in servables if servable.is_aspired]
    unwanted = [s for s in servables if not s.is_aspired and s.phase is Phase.READY]
    has_replacement = any(servable.phase is Phase.READY for servable in aspired)
    if unwanted and (not aspired or has_replacement or len(unwanted) > 1):
        return min(unwanted, key=lambda servable: servable.id.version)
    return None


def next_load(servables: list[Servable]) -> Servable | None:
    """Return the version to load: the newest one that is wanted and untouched."""
    untouched = [s for s in servables if s.is_aspired and s.phase is Phase.NEW]
    return max(untouched, key=lambda servable: servable.id.version, default=None)


def _slots(threads: int) -> asyncio.Semaphore | None:
    """Return slots for ``threads`` workers, None when the manager's own loop does the work."""
    return asyncio.Semaphore(threads) if threads > 0 else None
