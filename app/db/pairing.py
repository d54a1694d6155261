"""Queries on which data directory the database belongs to."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db.tables import PairingRow


def find_pair_id(session: Session) -> str | None:
    """The id that the database's data directory holds too; None before the first start on one."""
    return session.scalar(sa.select(PairingRow.pair_id))


def forget_pair(session: Session) -> None:
    """Let the database belong to no directory."""
    session.execute(sa.delete(PairingRow))


def insert_pair(session: Session, pair_id: str, *, now: datetime) -> None:
    """Let the database, which belongs to no directory, belong to the one of this id."""
    session.add(PairingRow(pair_id=pair_id, paired_at=now))
