"""Queries on what live sessions reported of checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db.paging import Page, fetch_page
from app.db.tables import CheckpointReportRow


def insert_report(session: Session, values: Mapping[str, Any]) -> CheckpointReportRow:
    """Add a report."""
    row = CheckpointReportRow(**values)
    session.add(row)
    session.flush()
    return row


def find_known(
    session: Session, instance_id: int, *, report_id: str | None, idempotency_key: str | None
) -> CheckpointReportRow | None:
    """The report of the instance with this client id, or else with this key, or None."""
    for column, value in (
        (CheckpointReportRow.report_id, report_id),
        (CheckpointReportRow.idempotency_key, idempotency_key),
    ):
        if value is not None:
            row = session.scalar(
                sa.select(CheckpointReportRow).where(
                    CheckpointReportRow.instance_id == instance_id, column == value
                )
            )
            if row is not None:
                return row
    return None


def list_newest_of_move(
    session: Session, move_seq: int, limit: int
) -> Sequence[CheckpointReportRow]:
    """Each session's last report while one move of `current` stands, newest first."""
    last = (
        sa.select(sa.func.max(CheckpointReportRow.seq))
        .where(CheckpointReportRow.move_seq == move_seq)
        .group_by(CheckpointReportRow.session)
    )
    return session.scalars(
        sa.select(CheckpointReportRow)
        .where(CheckpointReportRow.seq.in_(last))
        .order_by(CheckpointReportRow.seq.desc())
        .limit(limit)
    ).all()


def list_reports(
    session: Session, checkpoint_id: str, *, cursor: str | None, limit: int
) -> Page[CheckpointReportRow]:
    """One page of a checkpoint's reports, newest first."""
    conditions = [CheckpointReportRow.checkpoint_id == checkpoint_id]
    return fetch_page(session, CheckpointReportRow, conditions, cursor=cursor, limit=limit)


def mark_rolled_back(session: Session, report: CheckpointReportRow) -> None:
    """Note that this report was the one that took its checkpoint back."""
    report.has_rolled_back = True
    session.flush()
