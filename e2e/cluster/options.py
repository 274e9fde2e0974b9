"""What a cluster should be like."""

from __future__ import annotations

import secrets
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class ClusterOptions(BaseModel):
    """What to start; the defaults give a control plane without nodes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default_factory=lambda: f"run-{secrets.token_hex(4)}")
    """Names the cluster for other processes; unique among those that run on the machine."""
    nodes: int = Field(default=0, ge=0, le=100)
    gpus_per_node: int = Field(default=0, ge=0)
    cpus_per_node: int = Field(default=16, ge=1, le=256)
    """What a node claims to have, so that pods with honest requests fit; they share what the machine has."""
    memory_per_node_bytes: int | None = Field(default=None, ge=2**28)
    """What a node claims to have; None is what the machine has."""
    disk_per_node_bytes: int | None = Field(default=None, ge=2**22)
    """What the volumes of a node's pods may hold together, without images; None is what the machine has.

    So small a disk is kept in memory: it is empty after ``kill_node`` and ``boot_node``."""
    prometheus: bool = False
    crds: tuple[Path, ...] = ()
    """Files or directories with custom resource definitions, installed before the controllers start."""
    detached: bool = False
    """Whether the cluster stays up when this process ends; it then runs until somebody stops it by name."""
    node_grace_seconds: int = Field(default=8, ge=2)
    """How long a node may stay silent before it counts as lost; short, so that tests of a loss are quick.

    Kubernetes' own default is 50: choose that to take the apiserver away for long, as nodes cannot report meanwhile."""
    unreachable_toleration_seconds: int = Field(default=300, ge=0)
    """How long pods stay on a node that is not ready or unreachable, unless they say so themselves."""
