"""What should lie in the mirror, and what does: copies wait, are noted, and go.

A mirror holds what this machine holds and may give away. Decided here, since it cannot be undone:
what is deleted here goes from the mirror, too, and so does what learned from something that was
erased, as soon as the mirror answers. What another machine has taken from it by then is that
machine's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from app.db import checkpoints, events, mirrored
from app.db.engine import Database
from app.db.tables import CheckpointRow
from app.domain.checkpoint import CheckpointStatus
from app.domain.events import CheckpointMirrored, CheckpointUnmirrored, EventType
from app.domain.gate import VerdictStatus
from app.domain.mirror import READ_AGAIN_AFTER, UnmirrorReason
from app.services.bringing import list_pushed

FLAG = "push_to_mirror"
"""The policy's field that asks for copies."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Copy:
    """A checkpoint's copy in a mirror that has to go."""

    checkpoint_id: str
    name: str
    remote: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MirrorState:
    """How the mirror stands.

    Attributes:
        waiting: Checkpoints that it lacks, of all instances.
        fault: What failed last, where something that failed still waits.
    """

    waiting: int
    fault: str | None
    failed_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Mirrored:
    """One checkpoint in the mirror, by its manifest.

    Attributes:
        fault: Why its manifest cannot be used; the rest is then unknown.
        is_same_base: Whether it is for this instance's base; None where that is not here.
        checkpoint_id: What it is on this machine; None where it is not here.
    """

    name: str
    instance: str
    id: str
    fault: str | None = None
    base_model: str | None = None
    base_sha256: str | None = None
    is_same_base: bool | None = None
    created_at: str | None = None
    verdict: VerdictStatus | None = None
    size_bytes: int | None = None
    adopted_from: str | None = None
    checkpoint_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class MirrorView:
    """The mirror as one instance sees it.

    Attributes:
        is_pushed: Whether the instance's policy has its checkpoints copied there.
        is_cut: More lie there than are shown.
    """

    remote: str
    is_pushed: bool
    state: MirrorState
    checkpoints: Sequence[Mirrored]
    is_cut: bool


def list_waiting(db: Database, remote: str) -> Sequence[str]:
    """Ids of the checkpoints that the mirror lacks and a policy wants there, oldest first."""
    slugs = list_pushed(db, FLAG)
    with db.read() as session:
        return mirrored.list_waiting(session, remote=remote, slugs=slugs)


def list_unread(db: Database, remote: str, *, now: datetime) -> Sequence[str]:
    """Ids of the checkpoints whose copies there nobody has read back for long, oldest first."""
    slugs = list_pushed(db, FLAG)
    with db.read() as session:
        before = now - READ_AGAIN_AFTER
        return mirrored.list_unread(session, remote=remote, slugs=slugs, before=before)


def count_waiting(db: Database, remote: str) -> int:
    """How many checkpoints the mirror lacks that a policy wants there."""
    slugs = list_pushed(db, FLAG)
    with db.read() as session:
        return mirrored.count_waiting(session, remote=remote, slugs=slugs)


def list_unwanted(db: Database) -> list[Copy]:
    """Copies that have to go, in whatever mirror, oldest first."""
    with db.read() as session:
        return [
            Copy(checkpoint_id=row.id, name=row.name, remote=copy.remote)
            for copy, row in mirrored.list_unwanted(session)
        ]


def begin_copy(
    db: Database, checkpoint_id: str, remote: str, *, now: datetime
) -> CheckpointRow | None:
    """Note that a copy is made; the checkpoint, or None where it must not be given away any more.

    Raises: CheckpointNotFound.
    """
    with db.write() as session:
        row = checkpoints.get_checkpoint(session, checkpoint_id)
        if row.status != CheckpointStatus.READY or row.tainted_at is not None:
            return None
        mirrored.begin(session, checkpoint_id, remote, now=now)
        return row


def end_copy(db: Database, checkpoint_id: str, remote: str, *, is_new: bool, now: datetime) -> None:
    """Note that a copy lies in the mirror, whole.

    Args:
        is_new: It was copied, or repaired, and not found there as it should be.

    Raises: CheckpointNotFound.
    """
    with db.write() as session:
        was_there = mirrored.finish(session, checkpoint_id, remote, now=now)
        if was_there and not is_new:
            return
        _tell(
            session,
            checkpoint_id,
            EventType.CHECKPOINT_MIRRORED,
            CheckpointMirrored(remote=remote),
            now=now,
        )


def forget_copy(db: Database, copy: Copy, *, now: datetime) -> None:
    """Note that a copy is gone from its mirror, and why. Raises: CheckpointNotFound."""
    with db.write() as session:
        row = checkpoints.get_checkpoint(session, copy.checkpoint_id)
        is_deleted = row.status == CheckpointStatus.DELETED
        reason = UnmirrorReason.DELETED if is_deleted else UnmirrorReason.ERASED
        mirrored.forget(session, copy.checkpoint_id, copy.remote)
        _tell(
            session,
            copy.checkpoint_id,
            EventType.CHECKPOINT_UNMIRRORED,
            CheckpointUnmirrored(remote=copy.remote, reason=reason),
            now=now,
        )


def _tell(
    session: Session,
    checkpoint_id: str,
    type_: EventType,
    facts: CheckpointMirrored | CheckpointUnmirrored,
    *,
    now: datetime,
) -> None:
    row = checkpoints.get_checkpoint(session, checkpoint_id)
    events.append_event(
        session,
        type_=type_,
        instance_id=row.instance_id,
        checkpoint_id=checkpoint_id,
        now=now,
        facts=facts,
    )
