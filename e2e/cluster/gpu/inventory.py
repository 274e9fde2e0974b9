"""Which GPUs a node pretends to have, in a file between the tests and the node's device plugin."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

RESOURCE = "nvidia.com/gpu"


class Inventory(BaseModel, frozen=True):
    """The GPUs of a node: numbered from 0, those in ``unhealthy`` out of order."""

    count: int
    unhealthy: frozenset[int] = frozenset()

    def write(self, path: Path) -> None:
        """Write it so that a reader sees the old or the new one, never half of it."""
        scratch = path.with_suffix(".new")
        scratch.write_text(self.model_dump_json())
        scratch.rename(path)

    @classmethod
    def read(cls, path: Path) -> Inventory:
        """Read what ``write`` wrote."""
        return cls.model_validate_json(path.read_text())
