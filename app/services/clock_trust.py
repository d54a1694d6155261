"""Looking at the clock for upkeep, and saying whether what is old by it may go."""

from __future__ import annotations

from datetime import datetime

from app.db import clock_record
from app.db.engine import Database
from app.domain import clock_trust


def look(db: Database, *, now: datetime, has_jumped: bool = False) -> None:
    """Note what the clock says; see `app.domain.clock_trust`. Raises: DatabaseUnavailable."""
    with db.write() as session:
        seen = clock_trust.look_at_clock(
            clock_record.find_record(session),
            newest_at=clock_record.find_newest_received_at(session),
            now=now,
            has_jumped=has_jumped,
        )
        clock_record.write_record(session, seen)


def confirm(db: Database, *, now: datetime) -> None:
    """Note that a person says that the clock is right. Raises: DatabaseUnavailable."""
    with db.write() as session:
        known = clock_record.find_record(session)
        clock_record.write_record(session, clock_trust.confirm_clock(known, now=now))


def find_doubt(db: Database, *, now: datetime) -> str | None:
    """Why nothing goes by this clock, in words; None where it is believed."""
    with db.read() as session:
        return clock_trust.find_doubt(
            clock_record.find_record(session),
            newest_at=clock_record.find_newest_received_at(session),
            now=now,
        )
