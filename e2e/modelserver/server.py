"""Builds the server from its flags and opens its ports: last, after the first loads."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
from importlib.util import find_spec
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from e2e.modelserver.bundle_config import batching_of, bundle_configs, tags_of, warmup_of
from e2e.modelserver.config_files import read_text_proto
from e2e.modelserver.core import TENSORFLOW_PLATFORM, CoreSettings, ServerCore
from e2e.modelserver.crash import crash
from e2e.modelserver.faults import Faults
from e2e.modelserver.grpc_front import GrpcFront
from e2e.modelserver.inference import Inference
from e2e.modelserver.light_executor import LightExecutor
from e2e.modelserver.loading import Loader
from e2e.modelserver.metrics import ServerMetrics
from e2e.modelserver.mixed_precision import PrecisionAnnounced
from e2e.modelserver.options import ServerOptions, request_threads
from e2e.modelserver.rest_front import RestFront, RestSettings
from e2e.modelserver.servables import DECISION_INTERVAL_SECONDS, LoadSettings, ServableManager
from e2e.modelserver.statuses import Code, StatusError, status_of
from e2e.modelserver.thread_pool_factories import refuse_thread_pool_factory
from e2e.modelserver.wire import config_pb2 as pb
from e2e.modelserver.xla import WithoutXla

if TYPE_CHECKING:
    from e2e.modelserver.executor import Executor

log = logging.getLogger(__name__)

EXECUTOR_VARIABLE = "STANDIN_EXECUTOR"
MOST_MESSAGE_BYTES = 2**31 - 1
INT32_DIGITS = re.compile(r"\s*-?[0-9]{1,10}\s*", re.ASCII)
INT32_LIMIT = 1 << 31


class ModelServer:
    """One server process's worth of parts. ``time_factor`` shortens polling, decisions and retries for tests."""

    def __init__(self, options: ServerOptions, faults: Faults, *, time_factor: float = 1.0) -> None:
        self.options = options
        self.faults = faults
        self.metrics = ServerMetrics()
        self.core: ServerCore | None = None
        self.serves_rest = False
        self._time_factor = time_factor
        self._closing = contextlib.AsyncExitStack()

    async def start(self) -> None:
        """Return when the first loads are done and the ports are open; raise StatusError when that fails."""
        options = self.options
        check_flags(options)
        config = read_model_config(options)
        bundles = bundle_configs(options)
        bundle = bundles.get(TENSORFLOW_PLATFORM, pb.SessionBundleConfig())
        loader = Loader(
            make_executor(options, self.faults, bundle),
            self.faults,
            self.metrics,
            batching_of(bundle),
            warmup_of(bundle),
            lambda: inference,
        )
        self.core = core = ServerCore(
            ServableManager(loader.load, load_settings(options, self._time_factor)),
            core_settings(options, frozenset(bundles), self._time_factor),
        )
        self._closing.callback(core.stop)
        inference = Inference(
            core, self.faults, self.metrics, check_method_names=options.enable_signature_method_name_check
        )
        await core.start(config)
        if options.model_config_file_poll_wait_seconds > 0 and options.model_config_file:
            self._closing.callback(asyncio.create_task(self._poll_config(core)).cancel)
        await self._open_grpc(core, inference)
        await self._open_rest(core, inference)

    async def _poll_config(self, core: ServerCore) -> None:
        while True:
            try:
                await core.reload(read_text_proto(self.options.model_config_file, pb.ModelServerConfig()))
            except Exception as error:
                log.error("PollFilesystemAndReloadConfig failed: %s", status_of(error).message)
            await asyncio.sleep(self.options.model_config_file_poll_wait_seconds * self._time_factor)

    async def _open_grpc(self, core: ServerCore, inference: Inference) -> None:
        options = self.options
        if options.thread_pool_factory_config_file:
            refuse_thread_pool_factory(
                read_text_proto(options.thread_pool_factory_config_file, pb.ThreadPoolFactoryConfig())
            )
        front = GrpcFront(
            core,
            inference,
            self.faults,
            self.metrics,
            max_threads=options.grpc_max_threads,
            tensor_content=options.enable_serialization_as_tensor_content,
        )
        addresses = [f"0.0.0.0:{options.port}"] if options.port else []
        addresses += [f"unix:{options.grpc_socket_path}"] if options.grpc_socket_path else []
        try:
            server = grpc.aio.server(options=channel_arguments(options.grpc_channel_arguments))
            server.add_generic_rpc_handlers(front.handlers(with_health=options.enable_grpc_healthcheck_service))
            credentials = server_credentials(options)
            for address in addresses:
                listen(server, address, credentials)
            await server.start()
        except (RuntimeError, ValueError) as error:
            raise StatusError(Code.INVALID_ARGUMENT, "Failed to BuildAndStart gRPC server") from error
        self._closing.push_async_callback(server.stop, None)
        for address in addresses:
            log.info("Running gRPC ModelServer at %s ...", address)

    async def _open_rest(self, core: ServerCore, inference: Inference) -> None:
        options = self.options
        if options.rest_api_port == 0:
            return
        if options.rest_api_port == options.port:
            log.error(
                "server_options.http_port cannot be same as grpc_port. Please use a different port for "
                "HTTP/REST API. Skipped exporting HTTP/REST API."
            )
            return
        monitoring = pb.MonitoringConfig()
        if options.monitoring_config_file:
            read_text_proto(options.monitoring_config_file, monitoring)
        timeout_ms = options.rest_api_timeout_in_ms
        settings = RestSettings(
            num_threads=options.rest_api_num_threads,
            timeout_seconds=timeout_ms / 1000 if timeout_ms > 0 else None,
            cors=options.rest_api_enable_cors_support,
            monitoring=monitoring,
        )
        front = RestFront(core, inference, self.faults, self.metrics, settings)
        try:
            runner = await front.start(options.rest_api_port)
        except OSError as error:
            log.error("Failed to start HTTP Server at localhost:%d: %s", options.rest_api_port, error)
            return
        self.serves_rest = True
        self._closing.push_async_callback(runner.cleanup)
        log.info("Exporting HTTP/REST API at:localhost:%d ...", options.rest_api_port)

    async def wait(self) -> None:
        """Serve until the process dies; nothing ends it from within."""
        await asyncio.Event().wait()

    async def stop(self) -> None:
        """Close ports and stop work, for tests within one process; a real server has no such end."""
        await self._closing.aclose()


def check_flags(options: ServerOptions) -> None:
    """Raise StatusError for flags that exclude each other or leave out what is needed."""
    if options.port == 0 and not options.grpc_socket_path:
        raise _invalid("At least one of server_options.grpc_port or server_options.grpc_socket_path must be set.")
    if options.use_alts_credentials and options.ssl_config_file:
        raise _invalid("Either use_alts_credentials must be false or ssl_config_file must be empty.")
    if not options.model_base_path and not options.model_config_file:
        raise _invalid("Both server_options.model_base_path and server_options.model_config_file are empty!")


def read_model_config(options: ServerOptions) -> pb.ModelServerConfig:
    config = pb.ModelServerConfig()
    if options.model_config_file:
        return read_text_proto(options.model_config_file, config)
    log.info(
        "Building single TensorFlow model file config:  model_name: %s model_base_path: %s",
        options.model_name,
        options.model_base_path,
    )
    config.model_config_list.config.add(
        name=options.model_name, base_path=options.model_base_path, model_platform=TENSORFLOW_PLATFORM
    )
    return config


def load_settings(options: ServerOptions, time_factor: float) -> LoadSettings:
    return LoadSettings(
        load_threads=options.num_load_threads,
        unload_threads=options.num_unload_threads,
        max_retries=options.max_num_load_retries,
        retry_interval_seconds=options.load_retry_interval_micros / 1e6 * time_factor,
        decision_interval_seconds=DECISION_INTERVAL_SECONDS * time_factor,
    )


def core_settings(options: ServerOptions, platforms: frozenset[str], time_factor: float) -> CoreSettings:
    return CoreSettings(
        poll_wait_seconds=options.file_system_poll_wait_seconds * time_factor,
        initial_load_threads=request_threads(),
        allow_labels_for_unavailable_models=options.allow_version_labels_for_unavailable_models,
        platforms=platforms,
    )


def make_executor(options: ServerOptions, faults: Faults, bundle: pb.SessionBundleConfig) -> Executor:
    """Return the executor that ``STANDIN_EXECUTOR`` names, else TensorFlow's where it is installed, under the flags."""
    executor = choose_executor(options, faults, bundle)
    if not xla_wanted(options):
        executor = WithoutXla(executor, tags_of(bundle))
    return PrecisionAnnounced(executor, bundle.mixed_precision) if bundle.mixed_precision else executor


def choose_executor(options: ServerOptions, faults: Faults, bundle: pb.SessionBundleConfig) -> Executor:
    choice = os.environ.get(EXECUTOR_VARIABLE) or ("tensorflow" if find_spec("tensorflow") else "light")
    if choice == "light":
        return LightExecutor(tags_of(bundle), faults)
    from e2e.modelserver.tensorflow_executor import TensorFlowExecutor

    return TensorFlowExecutor(
        tags_of(bundle), bundle.session_config, xla=xla_wanted(options), mixed_precision=bundle.mixed_precision
    )


def xla_wanted(options: ServerOptions) -> bool:
    return options.xla_cpu_compilation_enabled or options.xla_gpu_compilation_enabled


def channel_arguments(text: str) -> list[tuple[str, int | str]]:
    """Return the gRPC arguments in ``k=v,k=v``; values that are 32-bit numbers become numbers.

    gRPC ignores an argument of the wrong type.
    """
    arguments: list[tuple[str, int | str]] = [
        ("grpc.max_receive_message_length", MOST_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MOST_MESSAGE_BYTES),
    ]
    for argument in text.split(",") if text else ():
        key, _, value = argument.partition("=")
        arguments.append((key, int(value) if _is_int32(value) else value))
    return arguments


def _is_int32(text: str) -> bool:
    return bool(INT32_DIGITS.fullmatch(text)) and -INT32_LIMIT <= int(text) < INT32_LIMIT


def server_credentials(options: ServerOptions) -> grpc.ServerCredentials | None:
    """Return ALTS or TLS credentials, None for plain text. An SSL config that cannot be read ends the process."""
    if options.use_alts_credentials:
        # Empty outside Google Cloud: no port can be opened with them, here as in the real server.
        return grpc.alts_server_credentials()
    if not options.ssl_config_file:
        return None
    config = pb.SSLConfig()
    try:
        read_text_proto(options.ssl_config_file, config)
    except StatusError as error:
        crash(f"Check failed: {error}")
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )


def listen(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> None:
    """Add ``address`` to what ``server`` listens on; raise RuntimeError when that is not possible."""
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    if port == 0:
        raise RuntimeError(f"cannot listen on {address}")


def _invalid(message: str) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, message)
