"""Whether the daemon can do its job: database, data directory, disk, worker, base model.

Anyone may ask, so the words hold no path and nothing of an instance.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.db.engine import Database
from app.domain.instance import InstanceDefaults
from app.errors import SageSleepError

OK = "ok"
DEGRADING = frozenset({"base_model", "disk"})
"""Checks without which exchanges are still taken; any other makes the daemon unavailable."""

MIN_FREE_BYTES = 128 << 20
"""A guess: some checkpoints of the embedded model, and a snapshot."""


def look(db: Database, *, data_dir: Path, is_worker_alive: bool) -> dict[str, str]:
    """Each check's `ok`, or what is wrong."""
    return {
        "database": _check_database(db),
        "data_directory": _check_directory(data_dir),
        "disk": _check_disk(data_dir),
        "worker": OK
        if is_worker_alive
        else "scheduler, supervisor or ingest writer is not running",
        "base_model": _check_base_model(db.defaults),
    }


def judge(checks: Mapping[str, str]) -> Literal["ready", "degraded", "unavailable"]:
    """What the checks come to."""
    failing = {name for name, word in checks.items() if word != OK}
    if failing - DEGRADING:
        return "unavailable"
    return "degraded" if failing else "ready"


@dataclass(frozen=True, kw_only=True, slots=True)
class DiskSpace:
    """Bytes of the disk that the data directory lies on, and of the database; None: unknown."""

    free_bytes: int | None
    total_bytes: int | None
    database_bytes: int | None


def measure_disk(db: Database, *, data_dir: Path) -> DiskSpace:
    """How much room there is, and what the database takes with what is not yet merged into it."""
    try:
        disk = shutil.disk_usage(data_dir)
    except OSError:
        free = total = None
    else:
        free, total = disk.free, disk.total
    return DiskSpace(free_bytes=free, total_bytes=total, database_bytes=_database_bytes(db.path))


def _database_bytes(path: Path | None) -> int | None:
    if path is None:
        return None
    log = path.with_name(f"{path.name}-wal")
    try:
        return path.stat().st_size + (log.stat().st_size if log.exists() else 0)
    except OSError:
        return None


def _check_database(db: Database) -> str:
    try:
        db.check_migrated()
    except SageSleepError as error:
        return error.message
    failure = db.failure
    return OK if failure is None else failure.message


def _check_directory(directory: Path) -> str:
    try:
        is_read_only = bool(os.statvfs(directory).f_flag & os.ST_RDONLY)
    except OSError as error:
        return f"SAGE_DATA_DIR cannot be looked at: {error.strerror}"
    if is_read_only or not os.access(directory, os.W_OK | os.X_OK):
        return "SAGE_DATA_DIR cannot be written to"
    return OK


def _check_disk(directory: Path) -> str:
    try:
        free = shutil.disk_usage(directory).free
    except OSError as error:
        return f"SAGE_DATA_DIR cannot be looked at: {error.strerror}"
    if free >= MIN_FREE_BYTES:
        return OK
    return f"{free / 1e6:.0f} MB are free: a cycle may fail, and soon exchanges are refused"


def _check_base_model(defaults: InstanceDefaults) -> str:
    """That of the settings: an instance's own stands in its sleep decision."""
    if defaults.find_base_fault(defaults.base_model) is None:
        return OK
    return "it is not on this machine: run `sage-sleep model fetch`, or set SAGE_BASE_MODEL"
