"""Import of `experience_buffer.json`, the buffer file of the older scripts.

Records keep their salience, session numbers, phases and times; what they call `id` becomes the
source_id. Record by record: a broken one is reported with its index and the rest goes in. A file
imported twice changes nothing, since every record is known by its content.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from app.buffer_file import read_records
from app.db.engine import Database
from app.domain.exchange import Exchange
from app.domain.salience import COMPONENTS
from app.errors import InstanceNotFound
from app.services.ingest import IngestOutcome, Submission, ingest_many

BATCH_RECORDS = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokenRecord:
    """A record that was left out: where it stands, which field, and what is wrong."""

    index: int
    pointer: str
    problem: str


@dataclass(kw_only=True, slots=True)
class ImportReport:
    """What an import did."""

    inserted: int = 0
    duplicate: int = 0
    by_status: dict[str, int] = field(default_factory=dict)
    broken: list[BrokenRecord] = field(default_factory=list)


def import_buffer(
    db: Database,
    path: Path,
    *,
    instance: str,
    zone: ZoneInfo,
    now: datetime,
) -> ImportReport:
    """Import a buffer file into an instance.

    Args:
        zone: The zone that naive timestamps in the file are local to.

    Raises: InvalidImportFile, InstanceNotFound.
    """
    report = ImportReport()
    for batch in _batches(list(enumerate(read_records(path)))):
        parsed: list[tuple[int, Submission]] = []
        for index, record in batch:
            try:
                parsed.append((index, Submission(exchange=_exchange(record, instance, zone))))
            except ValidationError as error:
                report.broken += [_broken(index, detail) for detail in error.errors()[:1]]
            except (ValueError, TypeError) as error:
                report.broken.append(BrokenRecord(index=index, pointer="", problem=str(error)))
        results = ingest_many(db, [item for _, item in parsed], now=now)
        for (index, _), result in zip(parsed, results, strict=True):
            if result.error is not None:
                if isinstance(result.error, InstanceNotFound):
                    raise result.error
                report.broken.append(
                    BrokenRecord(
                        index=index,
                        pointer=result.error.pointer or "",
                        problem=result.error.message,
                    )
                )
            elif result.outcome is IngestOutcome.DUPLICATE:
                report.duplicate += 1
            elif result.experience is not None:
                report.inserted += 1
                status = result.experience["status"]
                report.by_status[status] = report.by_status.get(status, 0) + 1
    report.broken.sort(key=lambda record: record.index)
    return report


def _exchange(record: Any, instance: str, zone: ZoneInfo) -> Exchange:
    if not isinstance(record, dict):
        raise TypeError("the record is not an object")
    number = record.get("session")
    values: dict[str, Any] = {
        "instance": instance,
        "prompt": record.get("prompt"),
        "response": record.get("response"),
        "phase": record.get("phase"),
        "source_id": record.get("id"),
        "metadata": record.get("metadata") or {},
        "occurred_at": _instant(record.get("timestamp"), zone),
    }
    if isinstance(number, int) and not isinstance(number, bool):
        values["session_number"] = number
        values["session"] = str(number)
    elif number is not None:
        values["session"] = number
    # What the older scripts did not write, and others do.
    for name in ("finish_reason", "history", "system_prompt"):
        if record.get(name) is not None:
            values[name] = record[name]
    if record.get("salience") is not None:
        values["salience"] = _salience(record["salience"])
    return Exchange.model_validate(values)


def _salience(stored: Any) -> Any:
    if not isinstance(stored, dict):
        return stored
    return {name: stored[name] for name in (*COMPONENTS, "total") if name in stored}


def _instant(text: Any, zone: ZoneInfo) -> datetime | None:
    if text is None:
        return None
    if not isinstance(text, str):
        raise TypeError("timestamp must be ISO 8601 text")
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=zone)


def _broken(index: int, detail: Any) -> BrokenRecord:
    pointer = "".join(f"/{part}" for part in detail["loc"])
    return BrokenRecord(index=index, pointer=pointer, problem=detail["msg"])


def _batches(records: Sequence[tuple[int, Any]]) -> Iterator[Sequence[tuple[int, Any]]]:
    for start in range(0, len(records), BATCH_RECORDS):
        yield records[start : start + BATCH_RECORDS]
