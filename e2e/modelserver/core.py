"""The server's core: takes model configs, keeps models loaded accordingly, and finds them for requests."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from e2e.modelserver.crash import crash
from e2e.modelserver.servables import Servable, ServableManager
from e2e.modelserver.source import poll
from e2e.modelserver.states import ServableId, State, StateMonitor, describe_unavailable
from e2e.modelserver.statuses import Code, StatusError, status_of
from e2e.modelserver.wire import config_pb2 as pb
from e2e.modelserver.wire import serving_pb2 as serving

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterable

log = logging.getLogger(__name__)

TENSORFLOW_PLATFORM = "tensorflow"


@dataclass(frozen=True)
class CoreSettings:
    """What of the flags the core needs."""

    poll_wait_seconds: float
    initial_load_threads: int
    allow_labels_for_unavailable_models: bool
    platforms: frozenset[str] = frozenset({TENSORFLOW_PLATFORM})


class ServerCore:
    """Mirrors ServerCore: one config at a time, replaced as a whole under one lock."""

    def __init__(self, manager: ServableManager, settings: CoreSettings, die: Callable[[str], object] = crash) -> None:
        self.states = StateMonitor()
        self.polls = 0
        """Polls of the file system so far, failed ones included."""
        self._manager = manager
        self._settings = settings
        self._die = die
        manager.monitors.append(self.states)
        self._config = pb.ModelServerConfig()
        self._config_lock = asyncio.Lock()
        self._watched: list[pb.ModelConfig] | None = None
        self._source_lock = asyncio.Lock()
        """Held while the file system is polled, as in the real source: no poll is acted on with a config that
        was replaced meanwhile."""
        self._labels: dict[str, dict[str, int]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, config: pb.ModelServerConfig) -> None:
        """Return when each configured model has a version AVAILABLE; raise StatusError when one ended."""
        self._spawn(self._manager.run())
        await self.reload(config)

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._die_of)

    def _die_of(self, task: asyncio.Task[None]) -> None:
        """End the process when ``task``, which never ends by itself, has failed: without it nothing loads any more."""
        if not task.cancelled() and task.exception() is not None:
            log.critical("the stand-in itself failed", exc_info=task.exception())
            self._die("Check failed: loading and polling never fail")

    def stop(self) -> None:
        """Stop polling, loading and unloading; what is loaded stays so."""
        self._manager.stop()
        for task in self._tasks:
            task.cancel()

    async def reload(self, config: pb.ModelServerConfig) -> None:
        """Replace the config and wait for models that are new in it, for ever if need be."""
        async with self._config_lock:
            self._accept(config)
            if config.WhichOneof("config") is None:
                log.info("Taking no action for empty config.")
                return
            self._config = config
            self._labels = self._checked_labels()
            log.info("Adding/updating models.")
            await self._watch(list(config.model_config_list.config))
            self._check_logging(config)
            log.info("Finished reloading config")

    def _accept(self, config: pb.ModelServerConfig) -> None:
        kind, new_kind = self._config.WhichOneof("config"), config.WhichOneof("config")
        if kind is not None and config != self._config and new_kind != "model_config_list":
            raise StatusError(
                Code.FAILED_PRECONDITION,
                "Cannot transition to requested config. It is only legal to transition from one "
                "ModelConfigList to another.",
            )
        if new_kind == "custom_model_config":
            crash("ModelServer does not yet support custom model config.")
        configs = config.model_config_list.config
        check_names_and_paths(configs)
        check_platforms_kept(self._config.model_config_list.config, configs)

    def _checked_labels(self) -> dict[str, dict[str, int]]:
        """Return the version of each label; labels are checked before anything is loaded for them."""
        labels: dict[str, dict[str, int]] = {}
        for config in self._config.model_config_list.config:
            for label, version in config.version_labels.items():
                state = self.states.version(ServableId(config.name, version))
                is_available = state is not None and state.state is State.AVAILABLE
                if not is_available and not self._may_point_to_unavailable(config.name, label, version):
                    raise StatusError(
                        Code.FAILED_PRECONDITION,
                        f"Request to assign label to version {version} of model {config.name}, "
                        "which is not currently available for inference",
                    )
                labels.setdefault(config.name, {})[label] = version
        return labels

    def _may_point_to_unavailable(self, model: str, label: str, version: int) -> bool:
        if not self._settings.allow_labels_for_unavailable_models:
            return False
        return self._labels.get(model, {}).get(label, version) == version

    async def _watch(self, configs: list[pb.ModelConfig]) -> None:
        for config in configs:
            if platform_of(config) not in self._settings.platforms:
                raise StatusError(
                    Code.INVALID_ARGUMENT,
                    f"Model {config.name} requests unsupported platform {platform_of(config)}",
                )
            log.info(" (Re-)adding model: %s", config.name)
        if self._watched is None:
            await self._watch_first(configs)
            return
        old_names = {config.name for config in self._watched}
        new_names = {config.name for config in configs}
        fresh_states = StateMonitor()
        self._manager.monitors.append(fresh_states)
        try:
            async with self._source_lock:
                self._watched = configs
                for name in sorted(old_names - new_names):
                    self._manager.aspire(name, {})
            await self._await_models(fresh_states, new_names - old_names, "model(s)")
        finally:
            self._manager.monitors.remove(fresh_states)

    async def _watch_first(self, configs: list[pb.ModelConfig]) -> None:
        self._manager.set_initial_load_threads(self._settings.initial_load_threads)
        self._watched = configs
        self._spawn(self._poll_file_system())
        try:
            await self._await_models(self.states, {config.name for config in configs}, "servable(s)")
        finally:
            await self._manager.finish_initial_load()

    @staticmethod
    async def _await_models(states: StateMonitor, names: Collection[str], noun: str) -> None:
        message = describe_unavailable(await states.wait_for_models(names), noun)
        if message:
            raise StatusError(Code.UNKNOWN, message)

    async def _poll_file_system(self) -> None:
        """Tell the manager what the file system holds; a missing base path silences all models."""
        if self._settings.poll_wait_seconds < 0:
            return
        while True:
            async with self._source_lock:
                await self._poll_once()
            self.polls += 1
            if self._settings.poll_wait_seconds == 0:
                return
            await asyncio.sleep(self._settings.poll_wait_seconds)

    async def _poll_once(self) -> None:
        try:
            for name, versions in (await asyncio.to_thread(poll, list(self._watched or ()))).items():
                self._manager.aspire(name, versions)
        except Exception as error:
            message = status_of(error).message
            log.error("FileSystemStoragePathSource encountered a filesystem access error: %s", message)

    @staticmethod
    def _check_logging(config: pb.ModelServerConfig) -> None:
        if any(model.HasField("logging_config") for model in config.model_config_list.config):
            raise StatusError(Code.INVALID_ARGUMENT, "No request-logger-creator provided.")

    def find(self, spec: serving.ModelSpec) -> Servable:
        """Return the loaded version that ``spec`` asks for, or raise StatusError."""
        if not spec.name:
            raise StatusError(Code.INVALID_ARGUMENT, "ModelSpec has no name specified.")
        match spec.WhichOneof("version_choice"):
            case "version":
                return self._manager.find(spec.name, spec.version.value)
            case "version_label":
                return self._manager.find(spec.name, self._labelled_version(spec.name, spec.version_label))
            case _:
                return self._manager.find(spec.name, None)

    def _labelled_version(self, model: str, label: str) -> int:
        try:
            return self._labels[model][label]
        except KeyError as error:
            raise StatusError(Code.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}") from error


def check_names_and_paths(configs: Iterable[pb.ModelConfig]) -> None:
    seen: set[str] = set()
    for config in configs:
        if config.name in seen:
            raise StatusError(
                Code.INVALID_ARGUMENT, f"Illegal to list model {config.name} multiple times in config list"
            )
        seen.add(config.name)
    for config in configs:
        if not PurePosixPath(config.base_path).is_absolute() and "://" not in config.base_path:
            raise StatusError(
                Code.INVALID_ARGUMENT,
                f"Expected model {config.name} to have an absolute path or URI; got base_path()={config.base_path}",
            )


def check_platforms_kept(old: Iterable[pb.ModelConfig], new: Iterable[pb.ModelConfig]) -> None:
    platforms = {config.name: platform_of(config) for config in old}
    for config in new:
        before = platforms.get(config.name)
        if before is not None and platform_of(config) != before:
            raise StatusError(
                Code.INVALID_ARGUMENT,
                f"Illegal to change a model's platform. For model {config.name} platform was {before} "
                f"and new platform requested is {platform_of(config)}",
            )


def platform_of(config: pb.ModelConfig) -> str:
    """Return the platform of ``config``, from either of the two fields that can say it, not both."""
    if config.model_type != pb.MODEL_TYPE_UNSPECIFIED:
        if config.model_platform:
            raise StatusError(
                Code.INVALID_ARGUMENT,
                "Illegal setting both ModelServerConfig::model_type (deprecated) and "
                f"ModelServerConfig::model_platform, model name is {config.name}",
            )
        if config.model_type == pb.TENSORFLOW:
            return TENSORFLOW_PLATFORM
        raise StatusError(
            Code.INVALID_ARGUMENT, f"ModelServerConfig::model_type choice {config.model_type} not supported."
        )
    if not config.model_platform:
        raise StatusError(
            Code.INVALID_ARGUMENT,
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            f"ModelServerConfig::model_platform, model name is {config.name}",
        )
    return config.model_platform
