"""Trains the quickstart model unless the cache has it already."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from e2e.cluster.locks import exclusive
from e2e.cluster.paths import cache_root
from e2e.cluster.progress import Progress, log_progress
from e2e.models.artifact import MODEL_NAME, TrainedModel, load_trained_model, write_archive
from e2e.models.tensorflow_environment import locked_versions, tensorflow_python

TRAINING = Path(__file__).with_name("training.py")
ARCHIVE_LIMIT_BYTES = 900_000
"""A ConfigMap holds 1 MiB, and base64 is only the transport."""


class TrainingFailed(Exception):
    """The training process failed; the message holds the end of what it said."""


def trained_digits(progress: Progress = log_progress) -> TrainedModel:
    """Return the trained digits classifier: from the cache, or trained now (about 15 s with TensorFlow at hand)."""
    models = cache_root() / "models"
    directory = models / f"{MODEL_NAME}-{content_key()}"
    with exclusive(models / f"{MODEL_NAME}.lock"):
        if not directory.exists():
            progress("installing TensorFlow to train the model with")
            python = tensorflow_python()
            progress("training the model")
            _train(python, directory)
    return load_trained_model(directory)


def content_key() -> str:
    """Return what the trained model depends on, as a short hash: the training code and the versions of its tools."""
    digest = hashlib.sha256(TRAINING.read_bytes())
    digest.update(repr(sorted(locked_versions().items())).encode())
    return digest.hexdigest()[:16]


def _train(python: list[str], destination: Path) -> None:
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".training-") as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        finished = subprocess.run(
            [*python, str(TRAINING), str(made)],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode != 0:
            raise TrainingFailed(f"training the {MODEL_NAME} model failed: {finished.stderr[-2000:]}")
        archive = made / f"{MODEL_NAME}.tar.gz"
        write_archive(made / MODEL_NAME, archive)
        if archive.stat().st_size > ARCHIVE_LIMIT_BYTES:
            raise TrainingFailed(f"{archive.name} has outgrown a ConfigMap: {archive.stat().st_size} bytes")
        shutil.move(made, destination)
