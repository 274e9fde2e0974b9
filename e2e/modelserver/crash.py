"""The ends of the real server that are no errors of its own making known: failed checks."""

from __future__ import annotations

import logging
import os
from typing import NoReturn

log = logging.getLogger(__name__)


def crash(message: str) -> NoReturn:
    """Log ``message`` and die by SIGABRT: nothing is printed, and there is no exit code."""
    log.critical(message)
    os.abort()
