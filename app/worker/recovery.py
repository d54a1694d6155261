"""What the last run left, when the daemon starts: cycles without a process, files without a row."""

from __future__ import annotations

from contextlib import suppress

from app.artifacts import leftovers
from app.clock import utc_now
from app.db.engine import Database
from app.errors import DatabaseUnavailable
from app.log import get_logger
from app.services import cycle_end, cycle_run, registry
from app.services.file_guard import FileGuard
from app.worker.upkeep import DataPaths

_log = get_logger(__name__)


def recover(db: Database, *, guard: FileGuard, paths: DataPaths) -> None:
    """Queue what ran again, remove what was not finished, and look at every checkpoint's files.

    To be called while nothing else uses the data directory.
    """
    settled = cycle_end.settle_all_running(db, now=utc_now())
    swept = leftovers.sweep(
        paths.checkpoints, registry.list_names(db), deleted_names=registry.list_deleted_names(db)
    )
    swept += leftovers.sweep_snapshots(paths.snapshots, cycle_run.list_active_ids(db))
    guard.check_all(now=utc_now())
    swept += leftovers.sweep_scratch(paths.scratch)
    with suppress(DatabaseUnavailable):  # read-only, or full: what can be answered, is
        db.purge()
    if settled or swept:
        _log.warning("daemon.recovered", cycles_requeued=settled, swept=swept)
