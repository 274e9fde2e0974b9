"""What ``--mixed_precision`` says at every load."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from e2e.modelserver.executor import Executor, Session

log = logging.getLogger(__name__)

BFLOAT16 = "bfloat16"


class PrecisionAnnounced:
    """An executor that logs the mode. One that the server does not know is no error: models load without it."""

    def __init__(self, executor: Executor, mode: str) -> None:
        self._executor = executor
        self._mode = mode

    async def load(self, name: str, version: int, path: Path) -> Session:
        if self._mode == BFLOAT16:
            log.info("Running inference with bfloat16 auto mixed precision")
        else:
            log.warning("%s auto mixed precision is not supported. Valid option: %s", self._mode, BFLOAT16)
        return await self._executor.load(name, version, path)
