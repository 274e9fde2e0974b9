"""What the server needs of whatever computes predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from e2e.modelserver.saved_model import Signatures
from e2e.modelserver.tensors import Tensor


class Session(Protocol):
    """A loaded version of a model."""

    @property
    def signatures(self) -> Signatures: ...

    async def run(self, signature: str, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> dict[str, Tensor]:
        """Return the tensors of the signature's ``outputs`` (aliases) for ``inputs`` (by alias).

        Raises StatusError. A caller that gives up waiting does not stop the computation.
        """

    def close(self) -> None:
        """Give back what the session holds."""


class Executor(Protocol):
    """Loads versions."""

    async def load(self, name: str, version: int, path: Path) -> Session:
        """Return the loaded version in directory ``path``, or raise StatusError."""
