"""The older scripts' buffer file: a list of records, read with patience, written whole or not.

    {"id", "prompt", "response", "salience": {five components, "total"}, "session", "phase",
     "timestamp", "metadata"}

Must not know tokens, models or the daemon.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import platformdirs
from filelock import FileLock

from app.domain.salience import COMPONENTS
from app.errors import InvalidImportFile
from app.older.buffer_file import read_records


def default_buffer_path() -> Path:
    """Where the buffer lies if nobody names a place: in the user's data directory."""
    return platformdirs.user_data_path("sage-sleep") / "experience_buffer.json"


def read_experience_buffer(path: Path) -> list[dict[str, Any]]:
    """The records of a file, `[...]` or `{"experiences": [...]}`, in its order; absent is empty.

    Raises:
        InvalidImportFile: Unreadable, no JSON, or a record without what training needs; the
            message and `facts["index"]` name the first bad one.
    """
    if not path.exists():
        return []
    records = read_records(path)
    for index, record in enumerate(records):
        check_record(record, index)
    return records


def check_record(record: Any, index: int) -> None:
    """Demand what training needs of a record. Raises: InvalidImportFile."""
    if not isinstance(record, dict):
        raise _broken(index, "is not an object")
    for name in ("prompt", "response"):
        if not isinstance(record.get(name), str) or not record[name].strip():
            raise _broken(index, f"has no {name}")
    session = record.get("session")
    if isinstance(session, bool) or not isinstance(session, int | str | None):
        raise _broken(index, "has a session that is neither a number nor text")
    if not isinstance(record.get("metadata") or {}, dict):
        raise _broken(index, "has metadata that are no object")
    if not isinstance(record.get("phase"), str | None):
        raise _broken(index, "has a phase that is no text")
    if not isinstance(record.get("salience"), dict):
        raise _broken(index, "has no salience")
    stored = record["salience"]
    for name in COMPONENTS if stored.get("total") is None else ("total", *COMPONENTS):
        value = stored.get(name, 0.0 if "total" in stored else None)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise _broken(index, f"has no salience.{name} in 0..1")


def components_of(record: Mapping[str, Any]) -> dict[str, float]:
    """The five components of a record; one that is not there is 0."""
    return {name: float(record["salience"].get(name, 0.0)) for name in COMPONENTS}


def total_of(record: Mapping[str, Any]) -> float:
    """The stored total, which counts as it stands; the mean of the components without one."""
    stored = record["salience"].get("total")
    components = components_of(record)
    return sum(components.values()) / len(components) if stored is None else float(stored)


def add_to_buffer(path: Path, record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Add a record to the file and return all of them; two processes may do so at once.

    The file is replaced as a whole: whoever reads it meanwhile sees the older one.

    Raises:
        InvalidImportFile: What is there is no buffer; it stays as it is.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        records: list[dict[str, Any]] = [*read_experience_buffer(path), dict(record)]
        _replace(path, records)
    return records


def _replace(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(records, file, ensure_ascii=False, indent=1)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _broken(index: int, what: str) -> InvalidImportFile:
    return InvalidImportFile(f"record {index} {what}", pointer=f"/{index}", index=index)
