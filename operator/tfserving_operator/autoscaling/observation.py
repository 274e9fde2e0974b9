"""What a scaling decision is made from: one frozen look at a ServedModel's pools."""

from __future__ import annotations

from dataclasses import dataclass, field

from tfserving_operator.api.autoscaling import Autoscaling
from tfserving_operator.api.pool import Pool
from tfserving_operator.autoscaling.signals import PoolSignals


@dataclass(frozen=True, kw_only=True)
class PoolObservation:
    """One pool: what it may have, what it has, and what is known of its load."""

    pool: Pool
    signals: PoolSignals
    desired: int
    """``spec.replicas`` of its Deployment as it is now, 0 without one."""
    ready: int
    """Replicas that take requests."""
    starting: int = 0
    """Replicas that have a node and are not ready yet."""
    waiting: int = 0
    """Replicas that wait for a node."""
    is_rolling_out: bool = False
    """Whether pods are being replaced by those of another spec."""
    restarts: int = 0
    """Restarts of the server container, over the pods that exist."""
    start_up_seconds: float | None = None
    """How long the newest replicas took from creation to ready; None where none was seen."""
    config_hash: str = ""
    """Changes when what a replica carries may change: models, batching, server, resources, accelerator."""


@dataclass(frozen=True, kw_only=True)
class ScalingObservation:
    """One ServedModel. Pools that fix their replicas are listed too: they carry load, but are not scaled."""

    spec: Autoscaling
    replicas: int
    """``spec.replicas`` of the ServedModel."""
    pools: tuple[PoolObservation, ...] = field(default_factory=tuple)
