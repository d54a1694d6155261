"""What happens in all instances, for the one who tells all listeners what is new."""

from __future__ import annotations

from collections.abc import Sequence

from app.db import events
from app.db.engine import Database
from app.db.tables import EventRow


def find_position(db: Database) -> int:
    """Number of the newest event; 0 before the first."""
    with db.read() as session:
        return events.find_newest_seq(session)


def look(db: Database, seq: int, limit: int) -> tuple[Sequence[EventRow], Sequence[EventRow]]:
    """Events of any instance after a number, oldest first, and how far the running cycles are.

    The latter as events that are in no log; see `events.is_logged`.
    """
    with db.read() as session:
        return events.list_events_after(session, seq, limit), events.list_progress(session)
