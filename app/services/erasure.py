"""Leaving nothing of a removed text on the disk: in files beside the database, and in its log.

A text that was removed from its row is gone for whoever asks; its bytes are gone after this.
"""

from __future__ import annotations

from pathlib import Path

from app import artifacts
from app.db import sleep_cycles
from app.db.copies import forget_copies
from app.db.engine import Database
from app.errors import DatabaseUnavailable
from app.log import get_logger

_log = get_logger(__name__)


def purge_traces(db: Database, *, kept_root: Path, snapshots_root: Path) -> bool:
    """Delete what may repeat removed texts, and empty the write-ahead log into the database.

    That is: kept measures of replies, snapshots of cycles that will not go on, and the copies of
    the database that migrations left. Returns whether the log is empty; if not, the daemon tries
    again (`Database.finish_purge`).

    Raises: DiskFull, DirectoryReadOnly.
    """
    artifacts.forget_replies(kept_root)
    try:
        with db.read() as session:
            active = sleep_cycles.list_active_ids(session)
        artifacts.sweep_snapshots(snapshots_root, active)
        if db.path is not None:
            forget_copies(db.path)
        return db.purge()
    except DatabaseUnavailable as error:
        _log.warning("erasure.purge_postponed", code=error.code)
        return False
