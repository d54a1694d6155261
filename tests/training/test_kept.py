"""Kept files: whole or absent, apart by base, never the cause of a failure."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from app.training.kept import KEPT_FILES, KEPT_OF_SESSIONS, KeptFiles


def test_what_was_kept_comes_back(tmp_path: Path) -> None:
    kept = KeptFiles(tmp_path, "a" * 64)
    kept.keep_json("x.json", {"replies": ["é"]})
    kept.keep_tensors("y.safetensors", {"t": torch.arange(3)})
    assert kept.find_json("x.json") == {"replies": ["é"]}
    found = kept.find_tensors("y.safetensors")
    assert found is not None
    assert found["t"].tolist() == [0, 1, 2]
    assert sorted(p.name for p in (tmp_path / ("a" * 64)).iterdir()) == ["x.json", "y.safetensors"]


def test_another_base_has_files_of_its_own(tmp_path: Path) -> None:
    KeptFiles(tmp_path, "a" * 64).keep_json("x.json", {})
    assert KeptFiles(tmp_path, "b" * 64).find_json("x.json") is None


def test_damaged_file_counts_as_absent(tmp_path: Path) -> None:
    kept = KeptFiles(tmp_path, "a")
    kept.keep_json("x.json", {"n": 1})
    kept.keep_tensors("y.safetensors", {"t": torch.arange(3)})
    for name in ("x.json", "y.safetensors"):
        path = tmp_path / "a" / name
        path.write_bytes(path.read_bytes()[:5])
    assert kept.find_json("x.json") is None
    assert kept.find_tensors("y.safetensors") is None


def test_directory_that_cannot_be_written_loses_only_the_shortcut(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    kept = KeptFiles(tmp_path / "file", "a")
    kept.keep_json("x.json", {})
    assert kept.find_json("x.json") is None


def test_nothing_is_kept_without_a_directory() -> None:
    kept = KeptFiles(None, "a")
    kept.keep_json("x.json", {})
    kept.keep_tensors("y.safetensors", {"t": torch.arange(3)})
    assert kept.find_json("x.json") is None
    assert kept.find_tensors("y.safetensors") is None


def test_number_of_files_is_bounded(tmp_path: Path) -> None:
    kept = KeptFiles(tmp_path, "a")
    kept.keep_tensors("references.safetensors", {"t": torch.arange(3)})
    for number in range(KEPT_FILES + 3):
        kept.keep_json(f"{number}.json", {})
    assert len(list((tmp_path / "a").glob("*.json"))) == KEPT_FILES
    assert kept.find_json(f"{KEPT_FILES + 2}.json") == {}
    assert kept.find_tensors("references.safetensors") is not None


def test_references_of_sessions_are_bounded_and_the_least_read_go(tmp_path: Path) -> None:
    kept = KeptFiles(tmp_path, "a")
    names = [f"session-references-{number}.safetensors" for number in range(KEPT_OF_SESSIONS + 1)]
    for at, name in enumerate(names[:-1]):
        kept.keep_tensors(name, {"t": torch.arange(3)})
        os.utime(tmp_path / "a" / name, (at, at))
    assert kept.find_tensors(names[0]) is not None
    kept.keep_tensors(names[-1], {"t": torch.arange(3)})
    left = {path.name for path in (tmp_path / "a").iterdir()}
    assert left == {*names} - {names[1]}
