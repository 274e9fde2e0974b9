"""How long work tells its caller what it is doing now."""

from __future__ import annotations

import logging
from collections.abc import Callable

Progress = Callable[[str], None]
"""Called with a short phrase ("starting etcd") whenever the work at hand changes."""


def log_progress(phrase: str) -> None:
    """Report progress to the log, which is what a library does when nobody asked otherwise."""
    logging.getLogger("e2e.cluster").info("%s", phrase)
