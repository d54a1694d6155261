"""What the last run left, when the daemon starts: cycles without a process, files without a row."""

from __future__ import annotations

from contextlib import suppress

from app.artifacts import leftovers
from app.clock import utc_now
from app.db.engine import Database
from app.errors import DatabaseUnavailable
from app.log import get_logger
from app.services.cycle_end import settle_all_running
from app.services.file_guard import FileGuard
from app.services.instances import give_back_what_other_settings_hold
from app.services.sweeping import return_set_aside, sweep_leftovers
from app.worker.upkeep import DataPaths

_log = get_logger(__name__)


def recover(db: Database, *, guard: FileGuard, paths: DataPaths) -> None:
    """Queue what ran again, remove what was not finished, and look at every checkpoint's files.

    To be called while nothing else uses the data directory or the database, which belong together
    (`app.services.pairing`). Of a damaged database nothing is settled: what it says must not decide
    what goes.
    """
    if db.damage_mark.is_set:
        _log.error("daemon.database_damaged")
        return
    settled = settle_all_running(db, now=utc_now())
    returned = return_set_aside(db, root=paths.checkpoints)
    swept = sweep_leftovers(
        db, root=paths.checkpoints, snapshots=paths.snapshots, scratch=paths.scratch
    )
    if not leftovers.is_experiment_active(paths.scratch):
        swept += leftovers.sweep_kept(paths.kept)
    guard.check_all(now=utc_now())
    with suppress(DatabaseUnavailable):
        give_back_what_other_settings_hold(db)
    with suppress(DatabaseUnavailable):  # read-only, or full: what can be answered, is
        db.purge()
    if settled or swept or returned:
        _log.warning(
            "daemon.recovered", cycles_requeued=settled, swept=swept, brought_back=returned
        )
