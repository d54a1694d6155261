"""From a file to its exchanges, one at a time: recognised, read, and each fault with its place."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, tzinfo
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from app.imports import messages, sharegpt, transcripts
from app.imports.formats import READERS, Format, recognise, unwrap
from app.imports.records import Value, read_values
from app.imports.sources import Source, read_sources
from app.imports.times import Clock
from app.imports.turns import Draft, Missing, Unreadable, exchanges_of

SHOWN_FIELDS = 8
MAX_FIELD_CHARACTERS = 32

MAX_TURNS = 100_000
"""Of a conversation whose turns are records of their own; who is the model is seen in all of them,
so they are held at once. A guess."""

SINGLE = frozenset({Format.EXPORT, Format.EXCHANGE, Format.ALPACA})
"""Formats whose record is one exchange."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """How a file is to be read.

    Attributes:
        zone: What times without a zone are local to.
        format: Of every record; None for what each is seen to be.
        models: Further names that a transcript may have for the model.
    """

    zone: tzinfo = UTC
    format: Format | None = None
    models: Collection[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where something stands in a file.

    Attributes:
        member: The file within a zip.
        index: The record, from 0.
        line: Its line, from 1, where each line is a record.
        reply: The reply within its conversation, from 0.
    """

    index: int
    member: str | None = None
    line: int | None = None
    reply: int | None = None

    def __str__(self) -> str:
        """`line 7`, `record 3, reply 2`, `conversations.json record 0`."""
        where = f"record {self.index}" if self.line is None else f"line {self.line}"
        member = "" if self.member is None else f"{self.member} "
        return f"{member}{where}{'' if self.reply is None else f', reply {self.reply}'}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """An exchange that a file holds; its values are not checked yet."""

    place: Place
    format: Format
    values: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """A record, or a reply in it, that cannot be read.

    Attributes:
        is_unknown: No format fits it.
    """

    place: Place
    problem: str
    is_unknown: bool = False


def read_file(path: Path, wanted: Wanted, clock: Clock) -> Iterator[Found | Fault]:
    """Read what a file holds, in its order. The clock counts times without a zone.

    Raises: InvalidImportFile: It cannot be read at all, or breaks off.
    """
    return read_sources(path, lambda source: _read_source(source, path.name, wanted, clock))


def _read_source(
    source: Source, name: str, wanted: Wanted, clock: Clock
) -> Iterator[Found | Fault]:
    values = read_values(source.text, source.member or name, is_lines=source.is_lines)
    for is_turn, group in groupby(values, key=lambda value: _is_turn(value, wanted)):
        if is_turn:
            while turns := list(islice(group, MAX_TURNS)):
                yield from _read_turns(turns, source.member, wanted, clock)
            continue
        for value in group:
            yield from _read_value(value, source.member, wanted, clock)


def _is_turn(value: Value, wanted: Wanted) -> bool:
    """Whether a record is a single turn of a conversation that goes on in the next ones."""
    if wanted.format not in {None, Format.TRANSCRIPT, Format.OPENAI, Format.SHAREGPT}:
        return False
    record = value.json
    turns = (messages.is_message, sharegpt.is_turn, transcripts.is_line, transcripts.is_pair)
    return any(is_turn(record) for is_turn in turns) and recognise(record) is None


def _read_turns(
    values: Sequence[Value], member: str | None, wanted: Wanted, clock: Clock
) -> Iterator[Found | Fault]:
    """Turns that stand by themselves, as one conversation."""
    first = values[0]
    place = Place(index=first.index, member=member, line=first.line)
    records = [value.json for value in values]
    if all(messages.is_message(record) for record in records):
        format_, found = Format.OPENAI, messages.read(records)
    elif all(sharegpt.is_turn(record) for record in records) and not wanted.models:
        format_, found = Format.SHAREGPT, sharegpt.read({"conversations": records})
    else:
        format_ = Format.TRANSCRIPT
        found = exchanges_of(transcripts.read_turns(records, wanted.models))
    yield from _place(found, format_, place, clock)


def _read_value(
    value: Value, member: str | None, wanted: Wanted, clock: Clock
) -> Iterator[Found | Fault]:
    place = Place(index=value.index, member=member, line=value.line)
    if value.problem is not None:
        yield Fault(place=place, problem=value.problem)
        return
    records = unwrap(value.json)
    for number, record in enumerate(records):
        at = place if len(records) == 1 else replace(place, index=number)
        yield from _read_record(record, at, wanted, clock)


def _read_record(
    record: Any, place: Place, wanted: Wanted, clock: Clock
) -> Iterator[Found | Fault]:
    format_ = wanted.format or recognise(record)
    if format_ is None:
        yield Fault(place=place, problem=_unknown(record), is_unknown=True)
    elif not READERS[format_].fits(record):
        yield Fault(place=place, problem=f"is not of the format {format_}", is_unknown=True)
    else:
        yield from _place(READERS[format_].read(record, wanted.models), format_, place, clock)


def _place(
    found: Iterator[Draft | Missing], format_: Format, place: Place, clock: Clock
) -> Iterator[Found | Fault]:
    """What a reader found, each with its place; what it could not read is the place's fault."""
    count = 0
    try:
        for item in found:
            at = place if format_ in SINGLE else replace(place, reply=count)
            count += 1
            if isinstance(item, Missing):
                yield Fault(place=at, problem=item.problem)
                continue
            try:
                occurred_at = clock.read(item.at)
            except ValueError as error:
                yield Fault(place=at, problem=str(error))
            else:
                values = {**item.values, "occurred_at": occurred_at}
                yield Found(place=at, format=format_, values=values)
    except Unreadable as error:
        yield Fault(place=place, problem=str(error))
    except (TypeError, AttributeError, LookupError):  # a field holds what no program writes there
        yield Fault(place=place, problem=f"a field of it is not as {format_} has it")
    else:
        if count == 0:
            yield Fault(place=place, problem="holds no reply to a prompt")


def _unknown(record: Any) -> str:
    if not isinstance(record, dict):
        return "the record is not an object"
    names = [str(name) for name in record if len(str(name)) <= MAX_FIELD_CHARACTERS]
    shown = ", ".join(names[:SHOWN_FIELDS]) + (", …" if len(names) > SHOWN_FIELDS else "")
    return f"no format is known with the fields {shown or 'none'}"
