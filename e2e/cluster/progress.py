"""How long work tells its caller what it is doing now."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[str], None]
"""Called with a short phrase ("starting etcd") whenever the work at hand changes.

What may change thousands of times within it follows a colon: "building etcd: 12 packages".
"""


def log_progress(phrase: str) -> None:
    """Report progress to the log, which is what a library does when nobody asked otherwise."""
    logging.getLogger("e2e.cluster").info("%s", phrase)


def details_of(work: str, progress: Progress) -> Progress:
    """Return what reports phrases as details of ``work``."""
    return lambda detail: progress(f"{work}: {detail}")


@contextmanager
def in_lines(write: Progress, *, clock: Callable[[], float] = time.monotonic) -> Iterator[Progress]:
    """Write a line when a piece of work begins, and one when it ends that took a second or more; no details.

    For where no line can be overwritten, as in a CI log.
    """
    current, began = "", 0.0

    def end(how: str) -> None:
        seconds = clock() - began
        if current and (seconds >= 1 or how != "done"):
            write(f"{current}: {how} after {seconds:.0f} s")

    def say(phrase: str) -> None:
        nonlocal current, began
        work = phrase.partition(": ")[0]
        if work != current:
            end("done")
            current, began = work, clock()
            write(work)

    try:
        yield say
    except BaseException:
        end("failed")
        raise
    end("done")
