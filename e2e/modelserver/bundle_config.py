"""How versions are loaded: session, batching, tags and warm-up, from flags or from a platform config file."""

from __future__ import annotations

from collections.abc import Mapping

from e2e.modelserver.batching import BatchScheduler
from e2e.modelserver.config_files import read_text_proto
from e2e.modelserver.core import TENSORFLOW_PLATFORM
from e2e.modelserver.loading import Batching, Warmup
from e2e.modelserver.options import ServerOptions
from e2e.modelserver.statuses import Code, StatusError
from e2e.modelserver.wire import config_pb2 as pb

DEFAULT_BATCH_THREAD_POOL = "model_server_batch_threads"


def bundle_configs(options: ServerOptions) -> Mapping[str, pb.SessionBundleConfig]:
    """Return the configuration of each platform. A platform config file replaces the flags altogether."""
    if not options.platform_config_file:
        return {TENSORFLOW_PLATFORM: _from_flags(options)}
    platforms = read_text_proto(options.platform_config_file, pb.PlatformConfigMap())
    return {name: _from_platform(name, platform) for name, platform in platforms.platform_configs.items()}


def _from_platform(name: str, platform: pb.PlatformConfig) -> pb.SessionBundleConfig:
    adapter = pb.SavedModelBundleSourceAdapterConfig()
    if not platform.source_adapter_config.Unpack(adapter):
        raise StatusError(
            Code.NOT_FOUND,
            f"No class registered for config of platform {name}: {platform.source_adapter_config.type_url}",
        )
    return adapter.legacy_config


def _from_flags(options: ServerOptions) -> pb.SessionBundleConfig:
    config = pb.SessionBundleConfig()
    _set_batching(config, options)
    if options.tensorflow_session_config_file:
        read_text_proto(options.tensorflow_session_config_file, config.session_config)
    config.session_config.gpu_options.per_process_gpu_memory_fraction = options.per_process_gpu_memory_fraction
    _set_parallelism(config.session_config, options)
    config.saved_model_tags.extend(options.saved_model_tags.split(","))
    config.enable_model_warmup = options.enable_model_warmup
    if options.num_request_iterations_for_warmup > 0:
        config.model_warmup_options.num_request_iterations.value = options.num_request_iterations_for_warmup
    config.mixed_precision = options.mixed_precision
    return config


def _set_batching(config: pb.SessionBundleConfig, options: ServerOptions) -> None:
    if not options.enable_batching:
        if options.batching_parameters_file:
            raise _invalid(
                "server_options.batching_parameters_file is set without setting server_options.enable_batching to true."
            )
        return
    if options.batching_parameters_file:
        config.batching_parameters.SetInParent()
        read_text_proto(options.batching_parameters_file, config.batching_parameters)
    else:
        config.batching_parameters.thread_pool_name.value = DEFAULT_BATCH_THREAD_POOL
    config.enable_per_model_batching_params = options.enable_per_model_batching_parameters


def _set_parallelism(config: pb.ConfigProto, options: ServerOptions) -> None:
    intra, inter = options.tensorflow_intra_op_parallelism, options.tensorflow_inter_op_parallelism
    both = options.tensorflow_session_parallelism
    if intra > 0 and inter > 0 and both > 0:
        raise _invalid(
            "Either configure server_options.tensorflow_session_parallelism or "
            "(server_options.tensorflow_intra_op_parallelism, "
            "server_options.tensorflow_inter_op_parallelism) separately. You cannot configure all."
        )
    if intra <= 0 and inter <= 0:
        intra = inter = both
    config.intra_op_parallelism_threads = intra
    config.inter_op_parallelism_threads = inter


def batching_of(config: pb.SessionBundleConfig) -> Batching | None:
    """Return how to batch, None when not at all; raise StatusError for a bad number of threads."""
    if not config.HasField("batching_parameters"):
        return None
    scheduler = BatchScheduler(config.batching_parameters)
    return Batching(config.batching_parameters, scheduler, config.enable_per_model_batching_params)


def warmup_of(config: pb.SessionBundleConfig) -> Warmup:
    return Warmup(config.enable_model_warmup, config.model_warmup_options.num_request_iterations.value or 1)


def tags_of(config: pb.SessionBundleConfig) -> list[str]:
    return list(config.saved_model_tags) or ["serve"]


def _invalid(message: str) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, message)
