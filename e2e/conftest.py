"""What every end-to-end test may use."""

import pytest

from e2e.cluster.fixtures import cluster_with_node, control_plane

__all__ = ["cluster_with_node", "control_plane"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let anyone with a registry run the scenarios against the real server."""
    parser.addoption("--server-image", help="Model server that this machine can pull; default: the stand-in.")
