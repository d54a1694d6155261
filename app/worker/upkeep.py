"""What the daemon does for its data directory once a day: look at files, let old things go.

Nothing goes for its age by a clock that is in doubt (`app.domain.clock_trust`): that is logged, and
said by `/stats` and the doctor. Checkpoints go by their number, so they go all the same.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.artifacts import leftovers
from app.clock import utc_now
from app.db.engine import Database
from app.domain.clock_trust import MAX_JUMP
from app.errors import ClockDoubted, SageSleepError
from app.log import get_logger
from app.services import clock_trust, erasure, retention
from app.services.file_guard import FileGuard

_log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class DataPaths:
    """The directories that upkeep works on."""

    checkpoints: Path
    kept: Path
    snapshots: Path
    scratch: Path


class Upkeep:
    """The daily look; ends early when told to stop."""

    def __init__(self, db: Database, *, guard: FileGuard, paths: DataPaths) -> None:
        self._db = db
        self._guard = guard
        self._paths = paths
        self._stopping = threading.Event()
        self._offset = _wall_offset()

    def stop(self) -> None:
        """End after what is under way."""
        self._stopping.set()

    def run(self) -> None:
        """Hash what aliases name, and prune every instance."""
        try:
            self._guard.check_named(now=utc_now(), should_stop=self._stopping.is_set)
            clock_trust.look(self._db, now=utc_now(), has_jumped=self._has_jumped())
            prune(
                self._db,
                instance=None,
                paths=self._paths,
                should_stop=self._stopping.is_set,
            )
        except ClockDoubted as error:
            _log.warning("upkeep.clock_doubted", reason=error.message)
        except SageSleepError as error:
            _log.warning("upkeep.ended_early", code=error.code, error=error.message)

    def _has_jumped(self) -> bool:
        """Whether the clock was set since the last look; a machine that slept has not jumped."""
        before, self._offset = self._offset, _wall_offset()
        return abs(self._offset - before) > MAX_JUMP.total_seconds()


def _wall_offset() -> float:
    """Between the wall clock and the one that only goes forward, also while the machine sleeps."""
    steady = getattr(time, "CLOCK_BOOTTIME", None)  # Linux's
    seconds = time.monotonic() if steady is None else time.clock_gettime(steady)
    return utc_now().timestamp() - seconds


def prune(
    db: Database,
    *,
    instance: str | None,
    paths: DataPaths,
    should_stop: Callable[[], bool],
) -> list[retention.Prunable]:
    """Let go what the policy of one instance, or of each, no longer keeps; returns what it was.

    All of it by one reading of the clock, which may jump meanwhile.

    While an experiment runs, which may train from any checkpoint, none is deleted.

    Raises: InstanceNotFound, ClockDoubted, DatabaseUnavailable, DiskFull, DirectoryReadOnly.
    """
    now = utc_now()
    wanted = retention.list_prunable(db, instance=instance, now=now)
    doubt = clock_trust.find_doubt(db, now=now)
    done = [item for item in wanted if not item.is_empty]
    for item in done:
        if should_stop():
            break
        while doubt is None and retention.remove_expired_texts(db, item.instance, now=now):
            if should_stop():
                break
        while doubt is None and retention.remove_old_progress(db, item.instance, now=now):
            if should_stop():
                break
        if not leftovers.is_experiment_active(paths.scratch):
            retention.delete_expired_checkpoints(db, item.instance, root=paths.checkpoints, now=now)
        _log.info(
            "upkeep.pruned",
            instance=item.instance,
            texts=0 if doubt else item.texts,
            reports=0 if doubt else item.reports,
            progress_events=0 if doubt else item.progress_events,
            checkpoints=len(item.checkpoints),
        )
    if doubt is None and any(item.texts or item.reports for item in done):
        erasure.purge_traces(db, kept_root=paths.kept, snapshots_root=paths.snapshots)
    if doubt is not None and any(item.has_aged for item in done):
        raise ClockDoubted(
            f"Nothing is removed for its age: {doubt}. If the clock is right, run "
            "`sage-sleep prune --clock-is-right`; else set it."
        )
    return done
