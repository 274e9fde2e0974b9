"""What every end-to-end test may use."""

from e2e.cluster.fixtures import cluster_with_node, control_plane

__all__ = ["cluster_with_node", "control_plane"]
