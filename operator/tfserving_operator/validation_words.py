"""What pydantic found wrong, in words for people."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

_OF_PYDANTIC = "Value error, "
"""Begins what a validator of ours says, which is a sentence without it."""


def problems_of(error: ValidationError) -> Iterator[str]:
    """Yield each problem after the field it is in; what concerns several fields names them itself."""
    for problem in error.errors():
        place = ".".join(map(str, problem["loc"]))
        words = problem["msg"].removeprefix(_OF_PYDANTIC)
        yield f"{place}: {words}" if place else words
