"""The event log of all instances, for the one who tells all listeners what is new."""

from __future__ import annotations

from collections.abc import Sequence

from app.db import events
from app.db.engine import Database
from app.db.tables import EventRow


def find_position(db: Database) -> int:
    """Number of the newest event; 0 before the first."""
    with db.read() as session:
        return events.find_newest_seq(session)


def list_after(db: Database, seq: int, limit: int) -> Sequence[EventRow]:
    """Events of any instance after a number, oldest first."""
    with db.read() as session:
        return events.list_events_after(session, seq, limit)
