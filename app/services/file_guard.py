"""Whether checkpoints' files are what was published: whoever uses a checkpoint asks here first.

Files are looked at outside of any transaction; what was found is written in one, and aliases fall
back with it (`app.services.damage`). A damaged checkpoint whose files are whole again, from a
backup perhaps, is ready again, but no alias moves to it by itself. Where the whole place of the
checkpoints is away, its disk perhaps, none is damaged: they cannot be looked at now.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from app.artifacts import directories, pair_marks
from app.db import checkpoints, events, instances, pairing, sleep_cycles
from app.db.engine import Database
from app.db.tables import CheckpointRow
from app.domain.checkpoint import CheckpointStatus
from app.domain.events import EventType
from app.errors import (
    ArtifactError,
    CheckpointFilesMissing,
    CheckpointFilesUnreadable,
    CheckpointsNotThere,
    StorageError,
)
from app.log import get_logger
from app.services import damage

_log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class FileCheck:
    """What a look at checkpoints' files found: ids by what became of them."""

    damaged: Sequence[str]
    repaired: Sequence[str]
    unreadable: Sequence[str]


ShouldStop = Callable[[], bool]


def _never() -> bool:
    return False


class FileGuard:
    """Looks at the files of one data directory's checkpoints, and remembers what it hashed.

    Args:
        root: Where the checkpoints lie.
    """

    def __init__(self, db: Database, *, root: Path) -> None:
        self._db = db
        self._root = root
        self._verified = directories.VerifiedFiles()

    def require_place(self) -> None:
        """Raise unless the place where checkpoints lie is there, so that one may be put into it.

        Raises: CheckpointsNotThere.
        """
        with self._db.read() as session:
            pair_id = pairing.find_pair_id(session)
        if pair_id not in {None, pair_marks.read_checkpoints_mark(self._root)}:
            raise CheckpointsNotThere(
                f"{self._root} is not where the checkpoints of this database lie: its disk is not "
                "mounted, or it was moved away; put it back."
            )

    def check_all(self, *, now: datetime) -> FileCheck:
        """Look for every file without reading it, so that a start costs the same at any size."""
        with self._db.read() as session:
            rows = checkpoints.list_undeleted(session)
        return self._check(rows, directories.verify_sizes, now=now)

    def check_named(self, *, now: datetime, should_stop: ShouldStop = _never) -> FileCheck:
        """Hash the files of the checkpoints that aliases name."""
        with self._db.read() as session:
            rows = checkpoints.list_named(session)
        return self._check(rows, directories.verify, now=now, should_stop=should_stop)

    def hash_one(self, checkpoint_id: str, *, now: datetime) -> FileCheck:
        """Hash the files of one checkpoint. Raises: CheckpointNotFound."""
        with self._db.read() as session:
            rows = [checkpoints.get_checkpoint(session, checkpoint_id)]
        return self._check(rows, directories.verify, now=now)

    def require_intact(self, row: CheckpointRow, *, now: datetime) -> None:
        """Let a checkpoint be used, or mark it and raise what is wrong with its files.

        Raises: CheckpointFilesMissing, CheckpointFilesAltered, CheckpointFilesUnreadable.
        """
        try:
            self._look(self._verified.verify, row)
        except CheckpointFilesUnreadable:
            raise
        except ArtifactError as error:
            try:
                self._mark(row.id, error, now=now)
            except StorageError as unwritable:  # refused either way, and found again
                _log.warning("checkpoint.not_marked", checkpoint_id=row.id, code=unwritable.code)
            raise

    def check_promotion(self, checkpoint_id: str, *, now: datetime) -> None:
        """Mark a checkpoint that is to be promoted if it is damaged; the promotion then says so.

        Raises: CheckpointNotFound, CheckpointFilesUnreadable.
        """
        with self._db.read() as session:
            row = checkpoints.get_checkpoint(session, checkpoint_id)
        if row.status == CheckpointStatus.READY:
            self._is_intact(row, now=now)

    def check_rollback(self, slug: str, *, now: datetime) -> None:
        """Mark what a rollback would lead to as long as it is damaged.

        Raises: InstanceNotFound, CheckpointFilesUnreadable.
        """
        while True:
            with self._db.read() as session:
                instance = instances.get_instance(session, slug)
                target_id = damage.find_rollback_target(session, instance)
                if target_id is None:
                    return
                row = checkpoints.get_checkpoint(session, target_id)
            if self._is_intact(row, now=now):
                return

    def check_parent(self, cycle_id: str, *, now: datetime) -> None:
        """Before a queued cycle starts: give it another parent as long as its own is damaged.

        One that starts from the base is compared with what it replaces; that is checked likewise.

        Raises: SleepCycleNotFound, CheckpointFilesUnreadable.
        """
        refused: str | None = None
        while True:
            with self._db.read() as session:
                plan = sleep_cycles.get_cycle(session, cycle_id).plan
                needed = plan.parent_checkpoint_id or plan.replaces_checkpoint_id
                if needed is None or needed == refused:
                    return  # refused and still there: no longer queued, and its worker finds out
                row = checkpoints.get_checkpoint(session, needed)
            if row.status == CheckpointStatus.READY and self._is_intact(row, now=now):
                return
            refused = row.id
            with self._db.write() as session:
                damage.replan_within(session, row, now=now)

    def _check(
        self,
        rows: Sequence[CheckpointRow],
        verify: directories.Verify,
        *,
        now: datetime,
        should_stop: ShouldStop = _never,
    ) -> FileCheck:
        damaged: list[str] = []
        repaired: list[str] = []
        unreadable: list[str] = []
        for row in rows:
            if should_stop():
                break
            is_marked = row.status == CheckpointStatus.DAMAGED
            try:
                self._look(directories.verify if is_marked else verify, row)
            except CheckpointFilesUnreadable as error:
                unreadable.append(row.id)
                _log.warning("checkpoint.unreadable", checkpoint_id=row.id, error=error.message)
            except ArtifactError as error:
                if not is_marked:
                    damaged.append(row.id)
                    self._mark(row.id, error, now=now)
            else:
                if is_marked:
                    repaired.append(row.id)
                    self._unmark(row.id, now=now)
        return FileCheck(damaged=damaged, repaired=repaired, unreadable=unreadable)

    def _is_intact(self, row: CheckpointRow, *, now: datetime) -> bool:
        try:
            self._look(directories.verify, row)
        except CheckpointFilesUnreadable:
            raise
        except ArtifactError as error:
            self._mark(row.id, error, now=now)
            return False
        return True

    def _look(self, verify: directories.Verify, row: CheckpointRow) -> None:
        """Verify a checkpoint; its files are missing only where the others' place is there.

        Raises: as `directories.verify`.
        """
        try:
            verify(self._root, row.name, row.files)
        except CheckpointFilesMissing as error:
            try:
                self.require_place()
            except CheckpointsNotThere as away:
                raise CheckpointFilesUnreadable(away.message, **error.facts) from error
            raise

    def _mark(self, checkpoint_id: str, error: ArtifactError, *, now: datetime) -> None:
        with self._db.write() as session:
            row = checkpoints.get_checkpoint(session, checkpoint_id)
            if row.status != CheckpointStatus.READY:  # deleted, or marked, meanwhile
                return
            damage.mark_within(session, row, error, now=now)
        _log.error("checkpoint.damaged", checkpoint_id=checkpoint_id, code=error.code)

    def _unmark(self, checkpoint_id: str, *, now: datetime) -> None:
        with self._db.write() as session:
            row = checkpoints.get_checkpoint(session, checkpoint_id)
            if row.status != CheckpointStatus.DAMAGED:
                return
            checkpoints.update_checkpoint(session, row.id, {"status": CheckpointStatus.READY})
            events.append_event(
                session,
                type_=EventType.CHECKPOINT_REPAIRED,
                instance_id=row.instance_id,
                checkpoint_id=row.id,
                now=now,
            )
        _log.info("checkpoint.repaired", checkpoint_id=checkpoint_id)
