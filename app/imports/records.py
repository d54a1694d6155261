"""A text as the JSON values in it, one at a time: lines, a list, objects one after the other.

No more than one value is held at once. A line that is no JSON is named and the next ones are read;
a list that breaks off cannot be read on, so it is an error. Must not know what the values mean.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TextIO

from app.errors import InvalidImportFile

MAX_VALUE_CHARACTERS = 32 << 20
"""Of one conversation, one line, or an object that wraps a list: what is parsed at once. Parsed it
takes a few hundred MB; the longest conversations seen are a tenth of it. A guess."""

CHUNK_CHARACTERS = 1 << 20
LOOKED_AT_LINES = 20
"""How many lines are tried, where the first one is no JSON."""

_SPACE = " \t\r\n\ufeff"  # a mark may stand between files that were put together
_SPACES = re.compile(f"[{_SPACE}]*")
_JSON = json.JSONDecoder()


@dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """One value of a text.

    Attributes:
        index: Its place among the values, from 0.
        line: Its line, from 1, where each line stands for itself.
        problem: Why it is none; `json` is None then.
    """

    index: int
    line: int | None = None
    json: Any = None
    problem: str | None = None


def read_values(text: TextIO, name: str, *, is_lines: bool = False) -> Iterator[Value]:
    """Read a text's values in their order; the elements of a list are values of their own.

    Args:
        name: Of the file, for messages.
        is_lines: Whether its name says that each line stands for itself; else it is seen.

    Raises: InvalidImportFile: It is no JSON, or breaks off.
    """
    reader = _Reader(text, name)
    head = reader.look_ahead()
    if (is_lines and not _is_spread(head)) or _stands_by_lines(head):
        yield from _read_lines(reader)
    else:
        yield from _read_document(reader)


def _stands_by_lines(head: str) -> bool:
    """Whether a text's first lines are values by themselves."""
    lines = [line for line in head.split("\n")[: LOOKED_AT_LINES + 1] if line.strip(_SPACE)]
    whole = lines if head.endswith("\n") or len(lines) > LOOKED_AT_LINES else lines[:-1]
    if not whole:
        return False
    begins = whole[0].lstrip(_SPACE)
    if _is_value(begins):
        return len(lines) > 1
    if begins.startswith("["):  # a list, whose last element may stand alone on a line
        return False
    return any(line.startswith("{") and _is_value(line) for line in whole[1:])


def _is_spread(head: str) -> bool:
    """Whether a text's first value goes on in the next line, as programs print it for people."""
    return head.lstrip(_SPACE).partition("\n")[0].rstrip(_SPACE) in {"{", "["}


def _is_value(line: str) -> bool:
    try:
        return isinstance(json.loads(line.strip(_SPACE)), dict | list)
    except (ValueError, RecursionError):
        return False


def _read_lines(reader: _Reader) -> Iterator[Value]:
    index = 0
    for number, line in enumerate(reader.lines(), start=1):
        if line is not None and not line.strip(_SPACE):
            continue
        value, problem = _parse_line(line)
        yield Value(index=index, line=number, json=value, problem=problem)
        index += 1


def _parse_line(line: str | None) -> tuple[Any, str | None]:
    if line is None:
        return None, f"is longer than {MAX_VALUE_CHARACTERS >> 20} Mi characters"
    if problem := _encoding_problem(line):
        return None, problem
    try:
        return json.loads(line.strip(_SPACE)), None
    except json.JSONDecodeError as error:
        return None, f"is no JSON: {error.msg} at character {error.colno}"
    except ValueError as error:  # a number of more digits than Python reads
        return None, f"cannot be read: {error}"
    except RecursionError:
        return None, "is nested too deep"


def _encoding_problem(text: str) -> str | None:
    """What was no UTF-8 came in as surrogates."""
    if text.isascii():
        return None
    found = next((at for at, char in enumerate(text) if "\udc80" <= char <= "\udcff"), None)
    return None if found is None else f"is not UTF-8 at character {found + 1}; save it as UTF-8"


def _read_document(reader: _Reader) -> Iterator[Value]:
    index = 0
    while (char := reader.next_char()) is not None:
        if char == "[":
            for value in _read_list(reader, index):
                index = value.index + 1
                yield value
        elif char == "{":
            yield reader.value(index)
            index += 1
        elif index == 0:
            raise InvalidImportFile(f"{reader.name} is not JSON: it begins with no {{ and no [.")
        else:
            raise reader.broken(index, f"{char!r} stands between values")


def _read_list(reader: _Reader, index: int) -> Iterator[Value]:
    reader.take("[")
    if reader.next_char() == "]":
        reader.take("]")
        return
    while True:
        yield reader.value(index)
        index += 1
        following = reader.next_char()
        if following == "]":
            reader.take("]")
            return
        if following != ",":
            raise reader.broken(index, "the list has no end" if following is None else "no comma")
        reader.take(",")


class _Reader:
    """A text with the little that is looked at ahead."""

    def __init__(self, text: TextIO, name: str) -> None:
        self.name = name
        self._text = text
        self._held = ""
        self._at = 0
        self._is_ended = False

    def look_ahead(self) -> str:
        """The text's beginning, which is read all the same."""
        self._fill()
        return self._held

    def lines(self) -> Iterator[str | None]:
        """Its lines; None for one that is too long."""
        for line in self._held_lines():
            yield line
        while line := self._text.readline(MAX_VALUE_CHARACTERS + 1):
            yield self._bounded(line)

    def _held_lines(self) -> Iterator[str | None]:
        *whole, rest = self._held.split("\n")
        self._held = ""
        yield from whole
        if rest:
            yield self._bounded(rest + self._text.readline(MAX_VALUE_CHARACTERS + 1))

    def _bounded(self, line: str) -> str | None:
        if len(line) <= MAX_VALUE_CHARACTERS:
            return line
        while not line.endswith("\n") and line:
            line = self._text.readline(CHUNK_CHARACTERS)
        return None

    def next_char(self) -> str | None:
        """The next character that is no white space; None at the end."""
        while True:
            if (spaces := _SPACES.match(self._held, self._at)) is not None:
                self._at = spaces.end()
            if self._at < len(self._held):
                return self._held[self._at]
            if not self._fill():
                return None

    def take(self, char: str) -> None:
        """Go past the next character, which was seen before."""
        self._at += len(char)

    def value(self, index: int) -> Value:
        """The value that begins at the next character. Raises: InvalidImportFile."""
        if self.next_char() is None:
            raise self.broken(index, "it breaks off")
        while True:
            try:
                value, end = _JSON.raw_decode(self._held, self._at)
            except json.JSONDecodeError as error:
                if not self._fill():
                    raise self.broken(index, error.msg) from error
            except ValueError as error:
                raise self.broken(index, str(error)) from error
            except RecursionError as error:
                raise self.broken(index, "it is nested too deep") from error
            else:
                problem = _encoding_problem(self._held[self._at : end])
                self._at = end
                return Value(index=index, json=None if problem else value, problem=problem)
            if len(self._held) - self._at > MAX_VALUE_CHARACTERS:
                raise self.broken(
                    index,
                    f"it is longer than {MAX_VALUE_CHARACTERS >> 20} Mi characters, or broken",
                )

    def broken(self, index: int, problem: str) -> InvalidImportFile:
        """The refusal of a document that cannot be read on."""
        return InvalidImportFile(
            f"{self.name} is no JSON that can be read, at record {index}: {problem}. Nothing of it "
            "was imported.",
            index=index,
        )

    def _fill(self) -> bool:
        """Read on: as much as is held, so that a long value is parsed few times."""
        wanted = max(CHUNK_CHARACTERS, len(self._held) - self._at)
        more = "" if self._is_ended else self._text.read(wanted)
        self._is_ended = not more
        self._held = self._held[self._at :] + more
        self._at = 0
        return bool(more)
