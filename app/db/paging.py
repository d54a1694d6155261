"""Cursor paging, newest first: the cursor is the id of the last row of the page before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db.tables import (
    CheckpointReportRow,
    CheckpointRow,
    ExperienceRow,
    SleepCycleRow,
    WebhookDeliveryRow,
)
from app.errors import CursorNotFound

Row = TypeVar(
    "Row", ExperienceRow, SleepCycleRow, CheckpointRow, CheckpointReportRow, WebhookDeliveryRow
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Page(Generic[Row]):
    """One page of rows; `next_cursor` is None on the last."""

    rows: Sequence[Row]
    next_cursor: str | None


def fetch_page(
    session: Session,
    table: type[Row],
    conditions: Sequence[sa.ColumnElement[Any]],
    *,
    cursor: str | None,
    limit: int,
    id_prefix: str | None = None,
) -> Page[Row]:
    """Return up to `limit` rows that meet the conditions, newest first, after the cursor.

    Args:
        id_prefix: How the rows' ids begin, in any case.

    Raises: CursorNotFound.
    """
    query = sa.select(table).where(*conditions)
    if id_prefix is not None:
        begin = id_prefix.upper()
        # A range, which the index of ids serves; `~` comes after every character of an id.
        query = query.where(table.id >= begin, table.id < f"{begin}~")
    if cursor is not None:
        last_seq = session.scalar(sa.select(table.seq).where(table.id == cursor))
        if last_seq is None:
            raise CursorNotFound(
                "This cursor was not given out by this list; start without one.", pointer="/cursor"
            )
        query = query.where(table.seq < last_seq)
    rows = session.scalars(query.order_by(table.seq.desc()).limit(limit + 1)).all()
    has_more = len(rows) > limit
    return Page(rows=rows[:limit], next_cursor=rows[limit - 1].id if has_more else None)
