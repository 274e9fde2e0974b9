"""What every end-to-end test may use."""

import pytest

from e2e.cluster.fixtures import cluster_with_node, control_plane

__all__ = ["cluster_with_node", "control_plane"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let anyone with a registry run the scenarios against the real server."""
    parser.addoption("--server-image", help="Model server that this machine can pull; default: the stand-in.")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Say what runs one after the other where tests run side by side (``--dist loadgroup``).

    That is what shares a cluster: all tests that use the one with the operator, or else those of a file.
    """
    shares = isinstance(item, pytest.Function) and "platform" in item.fixturenames
    item.add_marker(pytest.mark.xdist_group("platform" if shares else item.path.stem))
