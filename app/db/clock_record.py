"""What was seen of the machine's clock: one row, and the newest exchange to compare it with."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db.tables import ClockRow, ExperienceRow
from app.domain.clock_trust import ClockRecord

_ONLY = 1


def find_record(session: Session) -> ClockRecord | None:
    """What was seen at the last look; None before the first."""
    row = session.get(ClockRow, _ONLY)
    if row is None:
        return None
    return ClockRecord(
        seen_at=row.seen_at, steady_since=row.steady_since, confirmed_at=row.confirmed_at
    )


def write_record(session: Session, record: ClockRecord) -> None:
    """Keep what was seen."""
    session.merge(
        ClockRow(
            id=_ONLY,
            seen_at=record.seen_at,
            steady_since=record.steady_since,
            confirmed_at=record.confirmed_at,
        )
    )


def find_newest_received_at(session: Session) -> datetime | None:
    """When the exchange that came in last, of any instance, was received."""
    query = sa.select(ExperienceRow.received_at).order_by(ExperienceRow.seq.desc()).limit(1)
    return session.scalar(query)
