"""A decision in one sentence: numbers in, rule that bound, numbers out."""

from __future__ import annotations

_LONGEST = 1000


def told(wants: str, wanted: int, words: str, total: int) -> str:
    """Return for example ``412 requests/s … wants 11; stabilization keeps 12``."""
    sentence = f"{wants} wants {wanted}"
    if words:
        sentence = f"{sentence}; {words}"
        if str(total) not in words:
            sentence = f"{sentence}, so {total}"
    return sentence[:_LONGEST]
