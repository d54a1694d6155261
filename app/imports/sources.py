"""A file as the texts in it: itself, or what a zip holds; in the encoding that it is in.

Must not know JSON beyond how it may begin.
"""

from __future__ import annotations

import io
import json
import re
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO, TypeVar, cast

from app.errors import InvalidImportFile

MAX_FILE_BYTES = 4 << 30
"""Of a file, and of what a zip unpacks to. It is read piece by piece, so that no memory depends on
it; years of a busy account come to some hundred MiB. A guess."""

MAX_PIPE_BYTES = 32 << 20
"""Of what has no size to look at, such as a pipe: it is kept on disk while it is read twice."""

JSON_SUFFIXES = frozenset({".json", ".jsonl", ".ndjson"})
CHATGPT_MEMBER = re.compile(r"(?:.*/)?conversations(?:-\d+)?\.json")
"""What a zip of ChatGPT's holds the conversations in: one file, or several with numbers."""

FOREIGN = (
    (b"SQLite format 3\x00", "is an SQLite database: export the chats from its program as JSON"),
    (b"PAR1", "is Parquet: export with `--format jsonl` in place of `dataset`"),
    (b"\x1f\x8b", "is compressed with gzip: unpack it first"),
    (b"\xfd7zXZ", "is compressed with xz: unpack it first"),
    (b"BZh", "is compressed with bzip2: unpack it first"),
    (b"(\xb5/\xfd", "is compressed with zstd: unpack it first"),
    (b"%PDF", "is a PDF"),
)
_MARKUP = re.compile(rb"\s*<(?:!doctype|html)", re.IGNORECASE)
_ZIP = b"PK\x03\x04"
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One text of a file.

    Attributes:
        member: Its name within a zip; None where the file is the text.
        is_lines: Its name says that each line stands for itself.
    """

    member: str | None
    text: TextIO
    is_lines: bool


@contextmanager
def settled(path: Path) -> Iterator[Path]:
    """A file that can be read twice: the path itself, or a copy of what comes through a pipe.

    Raises: InvalidImportFile.
    """
    with _explained(path):
        if path.is_file():
            if path.stat().st_size > MAX_FILE_BYTES:
                raise _too_large(path, MAX_FILE_BYTES)
            yield path
            return
        with path.open("rb") as pipe, tempfile.TemporaryDirectory(prefix="sage-import-") as room:
            data = pipe.read(MAX_PIPE_BYTES + 1)
            if len(data) > MAX_PIPE_BYTES:
                raise _too_large(path, MAX_PIPE_BYTES)
            copy = Path(room) / path.name
            copy.write_bytes(data)
            yield copy


def read_sources(path: Path, read: Callable[[Source], Iterator[T]]) -> Iterator[T]:
    """All that a reader finds in the texts of a file.

    Raises: InvalidImportFile: It cannot be read, or is known to be something else.
    """
    with _explained(path), path.open("rb") as file:
        head = file.read(512)
        file.seek(0)
        if not head.startswith(_ZIP):
            _refuse_foreign(path, head)
            with _source(path.name, None, file) as source:
                yield from read(source)
            return
        with zipfile.ZipFile(file) as archive:
            for member in _choose(path, archive.infolist()):
                unpacked = cast("zipfile.ZipExtFile", archive.open(member))
                with _source(member.filename, member.filename, unpacked) as source:
                    yield from read(source)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Foreign errors as a sentence about the file."""
    try:
        yield
    except OSError as error:
        raise InvalidImportFile(f"{path.name} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InvalidImportFile(
            f"{path.name} is no text in {error.encoding.upper()}; save it as UTF-8."
        ) from error
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise InvalidImportFile(f"{path.name} cannot be unpacked: {error}.") from error


def _choose(path: Path, members: list[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    """ChatGPT's conversations where it is its export; else all that may be JSON, by name."""
    texts = [
        member
        for member in members
        if Path(member.filename).suffix.lower() in JSON_SUFFIXES
        and not member.filename.startswith("__MACOSX/")
    ]
    chosen = [member for member in texts if CHATGPT_MEMBER.fullmatch(member.filename)] or texts
    if not chosen:
        raise InvalidImportFile(f"{path.name} holds no .json and no .jsonl file.")
    if sum(member.file_size for member in chosen) > MAX_FILE_BYTES:
        raise _too_large(path, MAX_FILE_BYTES)
    return sorted(chosen, key=lambda member: member.filename)


@contextmanager
def _source(
    name: str, member: str | None, file: io.BufferedReader | zipfile.ZipExtFile
) -> Iterator[Source]:
    encoding = json.detect_encoding(file.peek(4)[:4])
    suffix = Path(name).suffix.lower()
    # What is no text is found where it stands, and not a reason to refuse the rest.
    with io.TextIOWrapper(file, encoding=encoding, errors="surrogateescape", newline="\n") as text:
        yield Source(member=member, text=text, is_lines=suffix in {".jsonl", ".ndjson"})


def _refuse_foreign(path: Path, head: bytes) -> None:
    if not head.strip():
        raise InvalidImportFile(f"{path.name} is empty.")
    for magic, words in FOREIGN:
        if head.startswith(magic):
            raise InvalidImportFile(f"{path.name} {words}.")
    if _MARKUP.match(head):
        raise InvalidImportFile(
            f"{path.name} is a web page; ChatGPT's export has the same in conversations.json."
        )


def _too_large(path: Path, limit: int) -> InvalidImportFile:
    size = f"{limit >> 30} GiB" if limit >> 30 else f"{limit >> 20} MiB"
    hint = "split it into parts" if limit == MAX_FILE_BYTES else "save it to a file first"
    return InvalidImportFile(f"{path.name} is larger than {size}; {hint}.")
