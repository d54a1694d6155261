"""What exchanges say and what they quote of others, read in a stream; and quotes taken out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db.elements import json_text
from app.db.tables import ExperienceRow
from app.domain.erasing import Quoting, Said
from app.domain.experience import ExperienceStatus

ROWS_AT_ONCE = 64


def stream_said(session: Session, instance_id: int, *, after_seq: int) -> Iterable[Said]:
    """The own words of an instance's exchanges that came in after one, a few in memory."""
    columns = (
        ExperienceRow.seq,
        ExperienceRow.prompt,
        ExperienceRow.response,
        ExperienceRow.session,
    )
    query = sa.select(*columns).where(*_is_kept(instance_id, after_seq))
    for row in session.execute(query, execution_options={"yield_per": ROWS_AT_ONCE}):
        yield Said(seq=row.seq, prompt=row.prompt, response=row.response, session=row.session)


def stream_quoting(
    session: Session, instance_id: int, *, after_seq: int
) -> Iterable[tuple[int, Quoting]]:
    """Sequence number and quotes of an instance's exchanges that can hold any, likewise."""
    columns = (
        ExperienceRow.seq,
        ExperienceRow.session,
        ExperienceRow.history,
        ExperienceRow.system_prompt,
        ExperienceRow.tool_calls,
        ExperienceRow.extra,
    )
    holds_any = sa.or_(
        json_text(ExperienceRow.history) != "[]",
        ExperienceRow.system_prompt.is_not(None),
        json_text(ExperienceRow.tool_calls) != "[]",
        json_text(ExperienceRow.extra) != "{}",
    )
    query = sa.select(*columns).where(*_is_kept(instance_id, after_seq), holds_any)
    for row in session.execute(query, execution_options={"yield_per": ROWS_AT_ONCE}):
        yield row.seq, quoting_of(row)


def find_last_seq(session: Session, instance_id: int) -> int:
    """The sequence number of the newest exchange of an instance; 0 before the first."""
    query = sa.select(sa.func.max(ExperienceRow.seq)).where(
        ExperienceRow.instance_id == instance_id
    )
    return session.scalar(query) or 0


def quoting_of(row: Any) -> Quoting:
    """What one exchange quotes; of a row, or of these columns of it."""
    return Quoting(
        session=row.session,
        history=row.history,
        system_prompt=row.system_prompt,
        tool_calls=row.tool_calls,
        metadata=row.extra,
    )


def take_out(session: Session, seq: int, left: Quoting) -> None:
    """Keep of what an exchange quoted what is left."""
    session.execute(
        sa.update(ExperienceRow)
        .where(ExperienceRow.seq == seq)
        .values(
            history=list(left.history),
            system_prompt=left.system_prompt,
            tool_calls=list(left.tool_calls),
            extra=dict(left.metadata),
        )
        .execution_options(synchronize_session=False)
    )


def _is_kept(instance_id: int, after_seq: int) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        ExperienceRow.instance_id == instance_id,
        ExperienceRow.seq > after_seq,
        ExperienceRow.status != ExperienceStatus.ERASED,
    )
