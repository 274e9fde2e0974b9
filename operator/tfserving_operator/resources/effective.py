"""What one pool's server is run with: spec.server with the pool's overrides laid over it."""

from __future__ import annotations

from dataclasses import dataclass

from tfserving_operator.api.pool import Pool
from tfserving_operator.api.servedmodel import ServedModelSpec
from tfserving_operator.api.server import (
    Batching,
    EnvironmentVariable,
    MixedPrecision,
    ServerFlag,
    Threads,
    Xla,
)
from tfserving_operator.resources.quantity import cpu_count


@dataclass(frozen=True)
class EffectiveServer:
    """The settings of one pool, overrides applied and thread counts derived."""

    image: str
    threads: Threads
    xla: Xla
    mixed_precision: MixedPrecision | None
    env: tuple[EnvironmentVariable, ...]
    flags: dict[ServerFlag, str]
    batching: Batching | None
    cpus: int | None
    """Whole CPUs of the limit; None without one."""


def effective_server(spec: ServedModelSpec, pool: Pool) -> EffectiveServer:
    """Return what ``pool`` runs with. An override replaces threads, xla and batching, and merges env and flags."""
    server, overrides = spec.server, pool.server
    env = {variable.name: variable for variable in (*server.env, *overrides.env)}
    return EffectiveServer(
        image=overrides.image or server.image,
        threads=overrides.threads or server.threads,
        xla=overrides.xla or server.xla,
        mixed_precision=overrides.mixed_precision or server.mixed_precision,
        env=tuple(env.values()),
        flags={flag.name: flag.value for flag in (*server.flags, *overrides.flags)},
        batching=pool.batching or spec.batching,
        cpus=cpu_count(pool.resources.limits.get("cpu")),
    )
