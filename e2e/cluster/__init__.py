"""An embedded Kubernetes for tests and demos: real parts, no container engine, gone without a trace."""

from e2e.cluster.audit import AuditEvent
from e2e.cluster.cluster import Cluster
from e2e.cluster.errors import (
    AlreadyRunning,
    BuildFailed,
    ClusterError,
    CommandFailed,
    NotPossibleHere,
    NotRunning,
    StartFailed,
)
from e2e.cluster.options import ClusterOptions

__all__ = [
    "AlreadyRunning",
    "AuditEvent",
    "BuildFailed",
    "Cluster",
    "ClusterError",
    "ClusterOptions",
    "CommandFailed",
    "NotPossibleHere",
    "NotRunning",
    "StartFailed",
]
