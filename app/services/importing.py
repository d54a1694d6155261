"""Import of files that people have: what is read there is checked, and goes in as a batch does.

A file is read twice: first to see what it holds, so that one that cannot be read leaves nothing
behind, and then to put it in. A record that is no exchange is reported with its place, and the rest
goes in. The same file twice changes nothing, since every exchange is known by its content.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from app.db.engine import Database
from app.domain.exchange import DEFAULT_INSTANCE, Exchange
from app.errors import InstanceNotFound, InvalidImportFile
from app.imports.formats import READERS, Format
from app.imports.reading import Fault, Place, Wanted, read_file
from app.imports.times import Clock
from app.services.ingest import IngestOutcome, IngestResult, Submission, ingest_many

BATCH_EXCHANGES = 500
BATCH_CHARACTERS = 4 << 20
"""Of texts and histories that are held at once."""

MAX_NAMED = 1000
"""Broken records that are named; those beyond are counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Broken:
    """What is left out: where it stands, which field, and what is wrong; none of its words."""

    file: str
    place: Place
    pointer: str
    problem: str


@dataclass(kw_only=True, slots=True)
class ImportReport:
    """What files hold, and what became of it.

    Attributes:
        found: Exchanges that can go in.
        by_format: Those by the format of their record.
        naive_times: How many of their times said no zone.
        broken_count: What is left out; the first of them are named.
    """

    found: int = 0
    by_format: dict[str, int] = field(default_factory=dict)
    naive_times: int = 0
    inserted: int = 0
    duplicate: int = 0
    by_status: dict[str, int] = field(default_factory=dict)
    broken_count: int = 0
    broken: list[Broken] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Item:
    """An exchange of a file, and where it stands."""

    place: Place
    format: Format
    exchange: Exchange

    @property
    def characters(self) -> int:
        history = sum(len(turn.content) for turn in self.exchange.history)
        return len(self.exchange.prompt) + len(self.exchange.response) + history


@dataclass(frozen=True, kw_only=True, slots=True)
class _Left:
    """What is left out, and whether no format is known for it."""

    broken: Broken
    is_unknown: bool = False


def look_into_file(path: Path, wanted: Wanted, report: ImportReport) -> None:
    """Count and check all that a file holds, and change nothing.

    Raises: InvalidImportFile: It cannot be read, breaks off, or nothing of it is of a format that
        is known.
    """
    clock = Clock(wanted.zone)
    found, left, unknown = 0, 0, 0
    for item in _read(path, wanted, clock, DEFAULT_INSTANCE):
        if isinstance(item, _Item):
            found += 1
            report.by_format[item.format] = report.by_format.get(item.format, 0) + 1
            continue
        left += 1
        unknown += item.is_unknown
        _name(report, item.broken)
    if left and left == unknown and not found:
        raise _unknown(path, report.broken[-min(left, len(report.broken))])
    report.found += found
    report.naive_times += clock.naive


def import_file(
    db: Database, path: Path, wanted: Wanted, report: ImportReport, *, instance: str, now: datetime
) -> None:
    """Put what a file holds into an instance. What the look into it found broken is not told again.

    Raises: InvalidImportFile, InstanceNotFound.
    """
    batch: list[_Item] = []
    characters = 0
    for item in _read(path, wanted, Clock(wanted.zone), instance):
        if isinstance(item, _Left):
            continue
        batch.append(item)
        characters += item.characters
        if len(batch) >= BATCH_EXCHANGES or characters >= BATCH_CHARACTERS:
            _put(db, path, batch, report, now=now)
            batch, characters = [], 0
    _put(db, path, batch, report, now=now)


def _put(
    db: Database, path: Path, batch: list[_Item], report: ImportReport, *, now: datetime
) -> None:
    results = ingest_many(db, [Submission(exchange=item.exchange) for item in batch], now=now)
    for item, result in zip(batch, results, strict=True):
        _count(path, item, result, report)


def _count(path: Path, item: _Item, result: IngestResult, report: ImportReport) -> None:
    if result.error is not None:
        if isinstance(result.error, InstanceNotFound):
            raise result.error
        error = result.error
        _name(report, _broken(path, item.place, error.pointer or "", error.message))
    elif result.outcome is IngestOutcome.DUPLICATE:
        report.duplicate += 1
    elif result.experience is not None:
        report.inserted += 1
        status = result.experience["status"]
        report.by_status[status] = report.by_status.get(status, 0) + 1


def _read(path: Path, wanted: Wanted, clock: Clock, instance: str) -> Iterator[_Item | _Left]:
    for found in read_file(path, wanted, clock):
        if isinstance(found, Fault):
            broken = _broken(path, found.place, "", found.problem)
            yield _Left(broken=broken, is_unknown=found.is_unknown)
            continue
        try:
            exchange = Exchange.model_validate({**found.values, "instance": instance})
        except ValidationError as error:
            detail = error.errors(include_input=False, include_url=False)[0]
            pointer = "".join(f"/{part}" for part in detail["loc"])
            yield _Left(broken=_broken(path, found.place, pointer, detail["msg"]))
        else:
            yield _Item(place=found.place, format=found.format, exchange=exchange)


def _broken(path: Path, place: Place, pointer: str, problem: str) -> Broken:
    return Broken(file=path.name, place=place, pointer=pointer, problem=problem)


def _name(report: ImportReport, broken: Broken) -> None:
    report.broken_count += 1
    if len(report.broken) < MAX_NAMED:
        report.broken.append(broken)


def _unknown(path: Path, first: Broken) -> InvalidImportFile:
    known = "".join(f"\n  {name}: {reader.words}" for name, reader in READERS.items())
    return InvalidImportFile(
        f"{path.name} holds nothing that can be read; {first.place}: {first.problem}. What can be, "
        f"as JSON Lines, as a list, or within an object:{known}"
    )
