"""The older scripts' file is read whole or refused, and never without an end."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from app.errors import InvalidImportFile
from app.older import buffer_file
from app.older.buffer_file import MAX_BYTES, read_records


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/urandom"])
def test_file_without_an_end_is_refused_and_eats_no_memory(device: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InvalidImportFile, match="larger than"):
        read_records(Path(device))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < 4 * MAX_BYTES


def test_file_of_the_largest_size_is_read_and_a_larger_one_is_to_be_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buffer_file, "MAX_BYTES", 100)
    path = tmp_path / "buffer.json"
    path.write_text("[1]" + " " * 97)
    assert read_records(path) == [1]
    path.write_text("[1]" + " " * 98)
    with pytest.raises(InvalidImportFile, match="split it"):
        read_records(path)


def test_sparse_file_and_directory_are_refused_in_words(tmp_path: Path) -> None:
    sparse = tmp_path / "sparse.json"
    with sparse.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InvalidImportFile, match="larger than"):
        read_records(sparse)
    with pytest.raises(InvalidImportFile, match="cannot be read"):
        read_records(tmp_path)
