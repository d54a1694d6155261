"""Keeping only as long as the policy says: texts of old experiences, files of old checkpoints.

What goes is written down as an event; hashes, scores, provenance and the rows themselves stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy.orm import Session

from app.db import events, experiences, instances, retention
from app.db.engine import Database
from app.domain.retention import EXPIRING_STATUSES, StoredCheckpoint, choose_expired
from app.domain.sleep import InstanceDefaults
from app.errors import CheckpointInUse
from app.services import registry
from app.services.instances import EffectiveInstance, effective, load_effective

ACTOR = "retention"
MAX_GROUP = 200
"""Texts removed in one transaction, so that posts need not wait for all of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prunable:
    """What the policy of an instance lets go.

    Attributes:
        texts: Experiences whose texts go.
        reports: Cycles' reports whose quoted replies go.
    """

    instance: str
    texts: int
    reports: int
    checkpoints: Sequence[StoredCheckpoint]

    @property
    def size_bytes(self) -> int:
        """What the checkpoints' files take."""
        return sum(item.size_bytes for item in self.checkpoints)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.texts or self.reports or self.checkpoints)


def list_prunable(
    db: Database, *, instance: str | None, defaults: InstanceDefaults, now: datetime
) -> list[Prunable]:
    """What would go now, of one instance or of all. Raises: InstanceNotFound."""
    with db.read() as session:
        rows = (
            [instances.get_instance(session, instance)]
            if instance
            else instances.list_instances(session)
        )
        return [_find(session, effective(row, defaults), now=now) for row in rows]


def remove_expired_texts(
    db: Database, slug: str, *, defaults: InstanceDefaults, now: datetime
) -> bool:
    """Remove a group of texts, and the replies of old reports; returns whether more may be left.

    Raises: InstanceNotFound.
    """
    with db.write() as session:
        found = load_effective(session, slug, defaults)
        before = _text_limit(found, now)
        if before is None:
            return False
        expired = retention.list_expired_texts(
            session, found.row.id, EXPIRING_STATUSES, before, limit=MAX_GROUP
        )
        for seq, _ in expired:
            experiences.erase(session, seq, reason=ACTOR, now=now)
        reports = retention.forget_old_replies(session, found.row.id, before)
        if expired or reports:
            events.append_event(
                session,
                type_="experience.expired",
                instance_id=found.row.id,
                now=now,
                data={
                    "experience_ids": [experience_id for _, experience_id in expired],
                    "reports": reports,
                    "retain_text_days": found.policy.retain_text_days,
                },
            )
        return len(expired) == MAX_GROUP


def delete_expired_checkpoints(
    db: Database, slug: str, *, root: Path, defaults: InstanceDefaults, now: datetime
) -> list[StoredCheckpoint]:
    """Delete the files of checkpoints that the policy lets go; returns those that went.

    Raises: InstanceNotFound, DiskFull, DirectoryReadOnly.
    """
    (prunable,) = list_prunable(db, instance=slug, defaults=defaults, now=now)
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
        texts=retention.count_expired_texts(session, instance_id, EXPIRING_STATUSES, before)
        if before
        else 0,
        reports=retention.count_old_replies(session, instance_id, before) if before else 0,
        checkpoints=choose_expired(
            retention.list_stored(session, instance_id),
            in_use=retention.list_in_use(session, instance_id),
            retain_checkpoints=instance.policy.retain_checkpoints,
        ),
    )


def _text_limit(instance: EffectiveInstance, now: datetime) -> datetime | None:
    days = instance.policy.retain_text_days
    return now - timedelta(days=days) if days else None
