from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest
from pydantic import ValidationError

from e2e.models.artifact import Sample, load_trained_model, write_archive


def version_directories(parent: Path) -> Path:
    base_path = parent / "digits"
    for version in ("1", "2"):
        (base_path / version / "variables").mkdir(parents=True)
        (base_path / version / "saved_model.pb").write_text(f"graph {version}")
        (base_path / version / "variables" / "variables.index").write_text(version)
    return base_path


def test_an_archive_has_the_version_directories_at_its_top(tmp_path: Path) -> None:
    write_archive(version_directories(tmp_path), tmp_path / "digits.tar.gz")
    with tarfile.open(tmp_path / "digits.tar.gz") as archive:
        assert archive.getnames() == [
            "1/saved_model.pb",
            "1/variables/variables.index",
            "2/saved_model.pb",
            "2/variables/variables.index",
        ]


def test_the_same_content_makes_the_same_archive_whatever_the_clock_and_the_owner_say(tmp_path: Path) -> None:
    base_path = version_directories(tmp_path)
    write_archive(base_path, tmp_path / "first.tar.gz")
    for path in base_path.rglob("*"):
        os.utime(path, (1, 1))
    write_archive(base_path, tmp_path / "second.tar.gz")
    assert (tmp_path / "first.tar.gz").read_bytes() == (tmp_path / "second.tar.gz").read_bytes()


def test_a_picture_shows_ink_where_the_pixels_are_dark() -> None:
    sample = Sample(pixels=(16, *[0] * 62, 8), label=1)
    rows = sample.picture().split("\n")
    assert (rows[0], rows[7]) == ("@@" + " " * 14, " " * 14 + "==")


@pytest.mark.parametrize("count", [0, 63, 65])
def test_a_sample_has_64_pixels(count: int) -> None:
    with pytest.raises(ValidationError):
        Sample(pixels=(0,) * count, label=1)


def test_what_training_wrote_is_read_back(tmp_path: Path) -> None:
    pixels = [0] * 64
    (tmp_path / "samples.json").write_text(
        f'{{"accuracy": {{"1": 0.9, "2": 0.98}}, "samples": [{{"pixels": {pixels}, "label": 7}}]}}'
    )
    model = load_trained_model(tmp_path)
    assert model.evaluation.accuracy == {1: 0.9, 2: 0.98}
    assert [sample.label for sample in model.samples] == [7]
    assert (model.base_path, model.archive) == (tmp_path / "digits", tmp_path / "digits.tar.gz")
