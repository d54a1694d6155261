"""Reading what happened to an instance."""

from __future__ import annotations

from collections.abc import Sequence

from app.db import events, instances
from app.db.engine import Database
from app.db.tables import EventRow


def list_events(
    db: Database, slug: str, *, subject: str | None, after_seq: int, limit: int
) -> Sequence[EventRow]:
    """Events of an instance after a number, oldest first. Raises: InstanceNotFound."""
    with db.read() as session:
        instance = instances.get_instance(session, slug)
        return events.list_instance_events(
            session, instance.id, subject=subject, after_seq=after_seq, limit=limit
        )


def find_last_event(db: Database, slug: str) -> int:
    """Number of an instance's newest event; 0 before the first. Raises: InstanceNotFound."""
    with db.read() as session:
        return events.find_last_seq(session, instances.get_instance(session, slug).id)
