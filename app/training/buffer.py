"""Read an experience buffer as the older scripts wrote it: a JSON file of exchanges.

Must not know tokens or models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.buffer_file import read_records
from app.domain.collapse import looks_truncated
from app.domain.experience import TrainingExchange
from app.domain.salience import COMPONENTS, Salience
from app.errors import InvalidImportFile


@dataclass(frozen=True, kw_only=True, slots=True)
class BufferedExperience:
    """One record of the file; `session` as it stands there, a number as a rule."""

    exchange: TrainingExchange
    session: int | str | None


def read_experience_buffer(path: Path) -> list[BufferedExperience]:
    """Read a list of records, or `{"experiences": [...]}`, in the order of the file.

    Raises:
        InvalidImportFile: Unreadable, no JSON, or a record without what training needs; the
            message and `facts["index"]` name the first bad one.
    """
    return [_read_record(record, index) for index, record in enumerate(read_records(path))]


def _read_record(record: Any, index: int) -> BufferedExperience:
    if not isinstance(record, dict):
        raise _broken(index, "is not an object")
    session = record.get("session")
    if isinstance(session, bool) or not isinstance(session, int | str | None):
        raise _broken(index, "has a session that is neither a number nor text")
    response = _text(record, "response", index)
    metadata = record.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise _broken(index, "has metadata that are no object")
    phase = record.get("phase")
    if not isinstance(phase, str | None):
        raise _broken(index, "has a phase that is no text")
    exchange = TrainingExchange(
        experience_id=str(record.get("id") or index),
        prompt=_text(record, "prompt", index),
        response=response,
        salience=_read_salience(record.get("salience"), index),
        session=None if session is None else str(session),
        phase=phase,
        is_truncated=looks_truncated(response),
        metadata=metadata,
    )
    return BufferedExperience(exchange=exchange, session=session)


def _text(record: Mapping[str, Any], name: str, index: int) -> str:
    value = record.get(name)
    if not isinstance(value, str) or not value.strip():
        raise _broken(index, f"has no {name}")
    return value


def _read_salience(stored: Any, index: int) -> Salience:
    if not isinstance(stored, dict):
        raise _broken(index, "has no salience")
    components: dict[str, float] = {}
    for name in COMPONENTS:
        value = stored.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise _broken(index, f"has no salience.{name} in 0..1")
        components[name] = float(value)
    return Salience(**components)


def _broken(index: int, what: str) -> InvalidImportFile:
    return InvalidImportFile(f"record {index} {what}", pointer=f"/{index}", index=index)
