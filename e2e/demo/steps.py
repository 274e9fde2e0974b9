"""The demonstration's progress display: what is being done, for how long, and what took how long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from e2e.cluster.progress import Progress

PHRASE_EVERY_SECONDS = 15.0
"""Where no spinner can turn, as in a CI log, a step says at most so often what it is at."""


class Steps:
    """Runs steps one after the other and shows them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()

    @contextmanager
    def step(self, title: str) -> Iterator[Progress]:
        """Show ``title`` while the block runs, with the phrases it reports, and in the end how long it took."""
        began = time.monotonic()
        spoke = began
        with self._console.status(f"{title} …") as status:

            def say(phrase: str) -> None:
                nonlocal spoke
                status.update(Text.assemble(f"{title} … ", (phrase, "dim"), overflow="ellipsis", no_wrap=True))
                if not self._console.is_terminal and time.monotonic() - spoke >= PHRASE_EVERY_SECONDS:
                    spoke = time.monotonic()
                    self._console.print(f"  {title} … {phrase}", markup=False, soft_wrap=True)

            try:
                yield say
            except BaseException:
                self._console.print(f"[red]✗[/red] {title}")
                raise
        self._console.print(f"[green]✓[/green] {title:<58} {time.monotonic() - began:6.1f} s", highlight=False)

    def total_seconds(self) -> float:
        """Seconds since the first step could begin."""
        return time.monotonic() - self._began
