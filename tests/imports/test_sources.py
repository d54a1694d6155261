"""Bytes to values: encodings, lines and lists, what breaks off, what has no end."""

from __future__ import annotations

import gzip
import json
import os
import resource
import threading
import zipfile
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import InvalidImportFile
from app.imports import records, sources
from app.imports.reading import Fault, Found, Wanted, read_file
from app.imports.sources import settled
from app.imports.times import Clock

ONE = {"prompt": "Wie heißt der Baum?", "response": "Eiche — オーク."}
TWO = {"prompt": "Two.", "response": "Zwei."}


def read(path: Path) -> list[Found | Fault]:
    return list(read_file(path, Wanted(), Clock(UTC)))


def prompts(path: Path) -> list[str]:
    return [item.values["prompt"] for item in read(path) if isinstance(item, Found)]


def problems(path: Path) -> list[str]:
    return [f"{f.place}: {f.problem}" for f in read(path) if isinstance(f, Fault)]


def made(tmp_path: Path, content: str | bytes, name: str = "file.json") -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("shape", ["lines", "list", "object", "pretty"])
def test_every_encoding_of_json_is_read(tmp_path: Path, encoding: str, shape: str) -> None:
    both = [ONE, TWO]
    text = {
        "lines": "\r\n".join(json.dumps(one, ensure_ascii=False) for one in both),
        "list": json.dumps(both, ensure_ascii=False),
        "object": json.dumps({"experiences": both}, ensure_ascii=False),
        "pretty": json.dumps(both, ensure_ascii=False, indent=2) + "\n",
    }[shape]
    path = made(tmp_path, text.encode(encoding))
    assert prompts(path) == [ONE["prompt"], TWO["prompt"]]
    assert problems(path) == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ('{"prompt": "a", "response": "b"}', 1),
        ('{"prompt": "a", "response": "b"}\n\n', 1),
        ('\n\n[{"prompt": "a", "response": "b"}]', 1),
        ("[]", 0),
        ('{"experiences": []}', 0),
        ('[\n{"prompt": "a", "response": "b"},\n{"prompt": "c", "response": "d"}\n]', 2),
        ('{\n"prompt": "a",\n"response": "b"\n}\n{\n"prompt": "c",\n"response": "d"\n}', 2),
        ('[{"prompt": "a", "response": "b"}]\n[{"prompt": "c", "response": "d"}]\n', 2),
        ('\ufeff{"prompt": "a", "response": "b"}\n\ufeff{"prompt": "c", "response": "d"}', 2),
        ('{"data": [{"prompt": "a", "response": "b"}], "has_more": false, "next": null}', 1),
    ],
)
def test_shape_of_a_file_is_seen(tmp_path: Path, text: str, count: int) -> None:
    assert len(prompts(made(tmp_path, text))) == count


def test_values_that_were_printed_for_people_are_read_whatever_the_name(tmp_path: Path) -> None:
    text = "\n".join(json.dumps(one, indent=2) for one in (ONE, TWO))
    assert prompts(made(tmp_path, text, "a.jsonl")) == [ONE["prompt"], TWO["prompt"]]


def test_line_that_is_no_json_is_named_and_the_next_are_read(tmp_path: Path) -> None:
    good = json.dumps(TWO)
    lines = ['{"prompt": "secret words"', good, "", "nonsense", '"text"', good[:-1] + ', "n": 1}']
    for name in ("a.jsonl", "a.txt"):
        path = made(tmp_path, "\n".join(lines), name)
        assert prompts(path) == ["Two.", "Two."]
        found = problems(path)
        assert [one.partition(":")[0] for one in found] == ["line 1", "line 4", "line 5"]
        assert "secret" not in "".join(found)


def test_bytes_that_are_no_utf_8_are_one_broken_record(tmp_path: Path) -> None:
    broken = json.dumps(ONE, ensure_ascii=False).encode("latin-1", "replace")
    whole = json.dumps(TWO).encode()
    for content in (broken + b"\n" + whole, b"[" + broken + b"," + whole + b"]"):
        path = made(tmp_path, content)
        assert prompts(path) == ["Two."]
        (problem,) = problems(path)
        assert "save it as UTF-8" in problem


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"id,prompt\n1,hello\n", "it begins with no"),
        (b"{", "breaks off|Expecting"),
        (b'[{"prompt": "a", "response": "b"}', "the list has no end"),
        (b'[{"prompt": "a", "response": "b"} {"prompt": "c"}]', "no comma"),
        (b'[{"prompt": "a", "respon', "at record 0"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"a": ' + b"9" * 5000 + b"}", "digits"),
        (b"SQLite format 3\x00 and more", "SQLite"),
        (b"PAR1....", "Parquet"),
        (gzip.compress(b"{}", mtime=0), "gzip"),
        (b"<!DOCTYPE html><html>", "conversations.json"),
        (b"PK\x03\x04 and nothing more", "cannot be unpacked"),
        ("[1]".encode("utf-16")[:-1], "UTF-16|no end"),
    ],
)
def test_file_that_cannot_be_read_says_why(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(InvalidImportFile, match=words) as caught:
        read(made(tmp_path, content))
    assert "file.json" in caught.value.message


def test_zip_with_nothing_to_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photo.png", b"")
    with pytest.raises(InvalidImportFile, match=r"holds no \.json"):
        read(path)


def test_zip_whose_file_is_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.json", json.dumps([ONE] * 50))
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    with pytest.raises(InvalidImportFile, match="cannot be unpacked"):
        read(path)


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/urandom"])
def test_what_has_no_end_is_refused_and_eats_no_memory(device: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InvalidImportFile, match="larger than 32 MiB"), settled(Path(device)):
        pass
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < 4 * sources.MAX_PIPE_BYTES


def test_sparse_file_and_directory_are_refused_in_words(tmp_path: Path) -> None:
    sparse = tmp_path / "sparse.json"
    with sparse.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InvalidImportFile, match="larger than 4 GiB"), settled(sparse):
        pass
    for path in (tmp_path, tmp_path / "nothing.json"):
        with pytest.raises(InvalidImportFile, match="cannot be read"), settled(path):
            pass


def test_pipe_is_read_twice(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(json.dumps([TWO]),))
    writer.start()
    with settled(pipe) as path:
        assert prompts(path) == prompts(path) == ["Two."]
    writer.join()


def test_record_larger_than_is_parsed_at_once_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "MAX_VALUE_CHARACTERS", 2000)
    monkeypatch.setattr(records, "CHUNK_CHARACTERS", 100)
    long = {"prompt": "x" * 5000, "response": "y"}
    with pytest.raises(InvalidImportFile, match="at record 1: it is longer"):
        read(made(tmp_path, json.dumps([TWO, long, TWO])))
    path = made(tmp_path, f"{json.dumps(TWO)}\n{json.dumps(long)}\n{json.dumps(TWO)}\n", "a.jsonl")
    assert prompts(path) == ["Two.", "Two."]
    assert [one.partition(":")[0] for one in problems(path)] == ["line 2"]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    texts=st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=40), max_size=8),
    chunk=st.integers(1, 50),
    indent=st.sampled_from([None, 1]),
    is_list=st.booleans(),
)
def test_list_and_lines_give_the_same_wherever_they_are_cut(
    tmp_path: Path, texts: list[str], chunk: int, indent: int | None, *, is_list: bool
) -> None:
    values: list[Any] = [{"prompt": text, "response": "b"} for text in texts]
    if is_list:
        content = json.dumps(values, indent=indent, ensure_ascii=False)
    else:
        content = "\n".join(json.dumps(value, ensure_ascii=False) for value in values)
    path = made(tmp_path, content or "[]")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "CHUNK_CHARACTERS", chunk)
        assert prompts(path) == texts
