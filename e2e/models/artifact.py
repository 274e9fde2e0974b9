"""What training leaves behind."""

from __future__ import annotations

import gzip
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

MODEL_NAME = "digits"
IMAGE_WIDTH = 8
SHADES = " .:-=+*#%@"
INK_MAX = 16


class Sample(BaseModel):
    """An image that the model was never shown, and the digit that a person wrote."""

    model_config = ConfigDict(frozen=True)

    pixels: tuple[int, ...] = Field(min_length=IMAGE_WIDTH**2, max_length=IMAGE_WIDTH**2)
    label: int

    def picture(self) -> str:
        """The image in characters: one row a line, each pixel two characters wide."""
        rows = (self.pixels[start : start + IMAGE_WIDTH] for start in range(0, len(self.pixels), IMAGE_WIDTH))
        return "\n".join("".join(2 * SHADES[ink * (len(SHADES) - 1) // INK_MAX] for ink in row) for row in rows)


class Evaluation(BaseModel):
    """How good each version is, and images to try it with."""

    model_config = ConfigDict(frozen=True)

    accuracy: dict[int, float]
    """By version: the share of 360 images, kept back from training, that it reads as their writers meant."""
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class TrainedModel:
    """A SavedModel in two versions, as directories and as an archive."""

    directory: Path
    """Holds ``digits/1`` and ``digits/2``."""
    archive: Path
    """The same in a ``.tar.gz``: the numeric directories at its top; small enough for a ConfigMap."""
    evaluation: Evaluation

    @property
    def base_path(self) -> Path:
        """The parent of the version directories, as TensorFlow Serving wants it."""
        return self.directory / MODEL_NAME

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Images that the model was never shown."""
        return self.evaluation.samples


def load_trained_model(directory: Path) -> TrainedModel:
    """Return what training wrote into ``directory``."""
    return TrainedModel(
        directory=directory,
        archive=directory / f"{MODEL_NAME}.tar.gz",
        evaluation=Evaluation.model_validate_json((directory / "samples.json").read_text()),
    )


def write_archive(base_path: Path, archive: Path) -> None:
    """Pack ``base_path``'s version directories, byte for byte the same for the same content."""
    with (
        archive.open("wb") as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for path in sorted(path for path in base_path.rglob("*") if path.is_file()):
            entry = tarfile.TarInfo(path.relative_to(base_path).as_posix())
            content = path.read_bytes()
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
