from __future__ import annotations

import threading
from pathlib import Path

import pytest

from e2e.cluster.replacing import replace_text


def test_a_reader_finds_the_whole_of_one_text(tmp_path: Path) -> None:
    file = tmp_path / "file"
    texts = ["a" * 100_000, "b" * 100_000]
    replace_text(file, texts[0])

    def write() -> None:
        for text in texts * 50:
            replace_text(file, text)

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        assert file.read_text() in texts
    writer.join()
    assert list(tmp_path.iterdir()) == [file]


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "file"
    replace_text(file, "before")
    with pytest.raises(UnicodeEncodeError):
        replace_text(file, "\ud800")
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]


def test_a_secret_is_never_readable_by_others(tmp_path: Path) -> None:
    replace_text(tmp_path / "key", "secret", mode=0o600)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
