from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.modelserver.model_writer import write_light_model


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The base path of a model with version 1, which costs no time."""
    return tmp_path / "m"


@pytest.fixture
def model(base: Path) -> Path:
    write_light_model(base, 1)
    return base


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's name."""
    with tempfile.TemporaryDirectory(prefix="ms") as folder:
        yield Path(folder)
