"""What leaves a daemon as a file: all of it, once, and nothing that was erased."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.support import RunningDaemon, make_exchange

needs_datasets = pytest.mark.skipif(
    importlib.util.find_spec("datasets") is None, reason="the extra `datasets` is not installed"
)


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_every_page_goes_to_standard_output_and_nothing_else_does(
    daemon: RunningDaemon, command: Command
) -> None:
    daemon.http.post("/v1/experiences/batch", json=[make_exchange(n) for n in range(20, 620)])
    rows = lines(command("export"))
    assert [row["prompt"] for row in rows] == [
        make_exchange(n)["prompt"] for n in reversed(range(620))
    ]


def test_erased_texts_never_leave(daemon: RunningDaemon, command: Command) -> None:
    first = daemon.http.get("/v1/experiences?limit=1").json()["data"][0]
    daemon.http.delete(f"/v1/experiences/{first['id']}")
    text = command("export")
    assert first["id"] not in text
    assert first["prompt"] not in text
    assert len(lines(text)) == 19
    assert lines(command("export", "--status", "erased")) == []


def test_filters_choose(daemon: RunningDaemon, command: Command) -> None:
    daemon.http.post("/v1/experiences", json=make_exchange(99, session="s-9", phase="relating"))
    for option in (
        ("--session", "s-9"),
        ("--phase", "relating"),
        ("--text", "day 99"),
    ):
        (row,) = lines(command("export", *option))
        assert row["prompt"] == make_exchange(99)["prompt"]
    assert lines(command("export", "--min-salience", "1")) == []
    assert "no instance" in command("export", "-i", "nobody", code=1, stream="stderr")


def test_file_is_written_whole_and_never_replaced_unasked(
    daemon: RunningDaemon, command: Command, tmp_path: Path
) -> None:
    file = tmp_path / "new" / "kept.jsonl"
    assert "20 experiences" in command("export", str(file), stream="stderr")
    assert len(lines(file.read_text())) == 20
    assert "--overwrite" in command("export", str(file), code=1, stream="stderr")
    command("export", str(file), "--overwrite", "--text", "day 7")
    assert len(lines(file.read_text())) == 1
    daemon.process.kill()
    daemon.process.wait()
    command("export", str(file), "--overwrite", code=3)
    assert len(lines(file.read_text())) == 1
    assert [path.name for path in file.parent.iterdir()] == ["kept.jsonl"]


def test_dataset_without_a_directory_is_wrong_usage(command: Command) -> None:
    assert "directory" in command("export", "--format", "dataset", code=2, stream="stderr")


@pytest.mark.skipif(
    importlib.util.find_spec("datasets") is not None, reason="the extra `datasets` is installed"
)
def test_dataset_without_its_package_says_what_to_install(command: Command, tmp_path: Path) -> None:
    said = command("export", str(tmp_path), "--format", "dataset", code=1, stream="stderr")
    assert "sage-sleep[datasets]" in said


@needs_datasets
def test_dataset_loads_with_its_messages(
    daemon: RunningDaemon, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf-home"))
    history = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hello!"}]
    daemon.http.post("/v1/experiences", json=make_exchange(50, history=history))
    command("export", str(tmp_path / "set"), "--format", "dataset")
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["train.parquet"]
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(tmp_path / "set" / "train.parquet").to_pylist()
    assert len(rows) == 21
    assert [turn["role"] for turn in rows[0]["messages"]] == ["user", "assistant"] * 2
    assert rows[0]["messages"][-1]["content"] == make_exchange(50)["response"]
    assert not list((tmp_path / "hf-home").rglob("*.arrow"))
