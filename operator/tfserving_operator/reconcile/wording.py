"""Wording that several parts of a status share."""

from __future__ import annotations

from collections.abc import Sequence

from tfserving_operator.api.servedmodel import ModelStatus

MAX_MESSAGE_LENGTH = 1000


def shorten(text: str, length: int = MAX_MESSAGE_LENGTH) -> str:
    """Return ``text``, cut where it is longer."""
    return text if len(text) <= length else text[: length - 1] + "…"


def version_summary(models: Sequence[ModelStatus]) -> str:
    """For example ``digits@2,1 resnet@7``; models without a known version are left out."""
    texts = [f"{model.name}@{','.join(str(v) for v in model.versions[:3])}" for model in models if model.versions]
    return shorten(" ".join(texts), 200)
