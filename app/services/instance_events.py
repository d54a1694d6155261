"""Reading what happened to an instance."""

from __future__ import annotations

from collections.abc import Sequence

from app.db import events, instances
from app.db.engine import Database
from app.db.events import EventFilter
from app.db.tables import EventRow


def list_events(
    db: Database, slug: str, wanted: EventFilter, *, after_seq: int, limit: int
) -> Sequence[EventRow]:
    """Events of an instance after a number, oldest first. Raises: InstanceNotFound."""
    with db.read() as session:
        instance = instances.get_instance(session, slug)
        return events.list_instance_events(
            session, instance.id, wanted, after_seq=after_seq, limit=limit
        )


def list_newest_events(
    db: Database, slug: str, wanted: EventFilter, *, before_seq: int, limit: int
) -> Sequence[EventRow]:
    """Events of an instance before a number, newest first. Raises: InstanceNotFound."""
    with db.read() as session:
        instance = instances.get_instance(session, slug)
        return events.list_newest_instance_events(
            session, instance.id, wanted, before_seq=before_seq, limit=limit
        )


def find_last_event(db: Database, slug: str) -> int:
    """Number of an instance's newest event; 0 before the first. Raises: InstanceNotFound."""
    with db.read() as session:
        return events.find_last_seq(session, instances.get_instance(session, slug).id)
