"""Keeping only as long as the policy says: texts of old experiences, files of old checkpoints.

What goes is written down as an event; hashes, scores, provenance and the rows themselves stay. The
progress of cycles that ended a day ago goes without one: the loss of every step
stands in the report, and every other event stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy.orm import Session

from app.db import events, experiences, instances, retention
from app.db.engine import Database
from app.domain.events import EventType, TextsExpired
from app.domain.retention import EXPIRING_STATUSES, StoredCheckpoint, choose_expired
from app.errors import CheckpointInUse
from app.services import registry
from app.services.instances import EffectiveInstance, effective, load_effective

ACTOR = "retention"
MAX_GROUP = 200
"""Texts removed in one transaction, so that posts need not wait for all of them."""


MAX_PROGRESS_GROUP = 1000
"""Progress events removed in one transaction, which took 2 to 35 ms on 2 busy cores."""

PROGRESS_KEPT = timedelta(days=1)
"""After a cycle's end, so that whoever followed it can read on; a guess."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prunable:
    """What the policy of an instance lets go.

    Attributes:
        texts: Experiences whose texts go.
        reports: Cycles' reports whose quoted replies go.
        progress_events: Of cycles that ended some time ago.
    """

    instance: str
    texts: int
    reports: int
    progress_events: int
    checkpoints: Sequence[StoredCheckpoint]

    @property
    def size_bytes(self) -> int:
        """What the checkpoints' files take."""
        return sum(item.size_bytes for item in self.checkpoints)

    @property
    def has_aged(self) -> bool:
        """Whether something goes for its age."""
        return bool(self.texts or self.reports or self.progress_events)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.has_aged or self.checkpoints)


def list_prunable(db: Database, *, instance: str | None, now: datetime) -> list[Prunable]:
    """What would go now, of one instance or of all. Raises: InstanceNotFound."""
    with db.read() as session:
        rows = (
            [instances.get_instance(session, instance)]
            if instance
            else instances.list_instances(session)
        )
        return [_find(session, effective(session, row), now=now) for row in rows]


def remove_expired_texts(db: Database, slug: str, *, now: datetime) -> bool:
    """Remove a group of texts, and the replies of old reports; returns whether more may be left.

    Raises: InstanceNotFound.
    """
    with db.write() as session:
        found = load_effective(session, slug)
        before = _text_limit(found, now)
        if before is None:
            return False
        expired = retention.list_expired_texts(
            session,
            found.row.id,
            EXPIRING_STATUSES,
            before,
            now=now,
            min_salience=found.policy.min_salience,
            limit=MAX_GROUP,
        )
        for seq, _ in expired:
            experiences.erase(session, seq, reason=ACTOR, now=now)
        reports = retention.forget_old_replies(session, found.row.id, before)
        if expired or reports:
            events.append_event(
                session,
                type_=EventType.EXPERIENCE_EXPIRED,
                instance_id=found.row.id,
                now=now,
                facts=TextsExpired(
                    experience_ids=tuple(experience_id for _, experience_id in expired),
                    reports=reports,
                    retain_text_days=found.policy.retain_text_days,
                ),
            )
        return len(expired) == MAX_GROUP


def remove_old_progress(db: Database, slug: str, *, now: datetime) -> bool:
    """Remove a group of ended cycles' progress events; returns whether more may be left.

    Raises: InstanceNotFound.
    """
    with db.write() as session:
        instance = instances.get_instance(session, slug)
        removed = retention.delete_old_progress(
            session, instance.id, now - PROGRESS_KEPT, limit=MAX_PROGRESS_GROUP
        )
        return removed == MAX_PROGRESS_GROUP


def delete_expired_checkpoints(
    db: Database, slug: str, *, root: Path, now: datetime
) -> list[StoredCheckpoint]:
    """Delete the files of checkpoints that the policy lets go; returns those that went.

    Raises: InstanceNotFound, DiskFull, DirectoryReadOnly.
    """
    (prunable,) = list_prunable(db, instance=slug, now=now)
    deleted = []
    for item in prunable.checkpoints:
        try:
            registry.delete_checkpoint(db, item.id, root=root, actor=ACTOR, now=now)
        except CheckpointInUse:  # since a moment ago
            continue
        deleted.append(item)
    return deleted


def _find(session: Session, instance: EffectiveInstance, *, now: datetime) -> Prunable:
    before = _text_limit(instance, now)
    instance_id = instance.row.id
    return Prunable(
        instance=instance.row.slug,
        texts=retention.count_expired_texts(
            session,
            instance_id,
            EXPIRING_STATUSES,
            before,
            now=now,
            min_salience=instance.policy.min_salience,
        )
        if before
        else 0,
        reports=retention.count_old_replies(session, instance_id, before) if before else 0,
        progress_events=retention.count_old_progress(session, instance_id, now - PROGRESS_KEPT),
        checkpoints=choose_expired(
            retention.list_stored(session, instance_id),
            in_use=retention.list_in_use(session, instance_id),
            retain_checkpoints=instance.policy.retain_checkpoints,
        ),
    )


def _text_limit(instance: EffectiveInstance, now: datetime) -> datetime | None:
    days = instance.policy.retain_text_days
    return now - timedelta(days=days) if days else None
