"""Queries on experiences: one, a page of them, a few numbers, and erasing one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import instances, seen_words
from app.db.elements import unindexed
from app.db.engine import driver_of
from app.db.listed import is_listed
from app.db.paging import Page, fetch_page
from app.db.tables import CycleExperienceRow, ExperienceRow, SleepCycleRow
from app.domain.experience import ExperienceStatus
from app.domain.progress import ACTIVE_STATUSES
from app.domain.reply_parts import said_in
from app.domain.salience import COMPONENTS, distinct_words
from app.errors import ExperienceNotFound


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperienceFilter:
    """Conditions of a list; None means any. `text` is looked for in prompt and response."""

    instance_id: int | None = None
    slugs: Collection[str] | None = None
    status: str | None = None
    session: str | None = None
    session_number: int | None = None
    phase: str | None = None
    min_total: float | None = None
    text: str | None = None
    id_prefix: str | None = None


def get_experience(session: Session, experience_id: str) -> ExperienceRow:
    """Return one experience. Raises: ExperienceNotFound."""
    row = session.scalar(sa.select(ExperienceRow).where(ExperienceRow.id == experience_id))
    if row is None:
        raise ExperienceNotFound(f"There is no experience {experience_id!r}.")
    return row


def find_by_key(session: Session, instance_id: int, idempotency_key: str) -> ExperienceRow | None:
    """The instance's experience that came with this key, or None."""
    return session.scalar(
        sa.select(ExperienceRow).where(
            ExperienceRow.instance_id == instance_id,
            ExperienceRow.idempotency_key == idempotency_key,
        )
    )


def list_experiences(
    session: Session, wanted: ExperienceFilter, *, cursor: str | None, limit: int
) -> Page[ExperienceRow]:
    """One page of experiences, newest first."""
    exact = {
        ExperienceRow.instance_id: wanted.instance_id,
        ExperienceRow.status: wanted.status,
        ExperienceRow.session: wanted.session,
        ExperienceRow.session_number: wanted.session_number,
        ExperienceRow.phase: wanted.phase,
    }
    conditions: list[sa.ColumnElement[Any]] = [
        column == value for column, value in exact.items() if value is not None
    ]
    if wanted.slugs is not None:
        conditions.append(instances.is_within(ExperienceRow.instance_id, wanted.slugs))
    if wanted.min_total is not None:
        conditions.append(ExperienceRow.total >= wanted.min_total)
    if wanted.text is not None:
        conditions.append(
            sa.or_(
                ExperienceRow.prompt.icontains(wanted.text, autoescape=True),
                ExperienceRow.response.icontains(wanted.text, autoescape=True),
            )
        )
    return fetch_page(
        session,
        ExperienceRow,
        conditions,
        cursor=cursor,
        limit=limit,
        id_prefix=wanted.id_prefix,
    )


def count_salient(
    session: Session, instance_id: int, statuses: Collection[str], *, min_total: float
) -> int:
    """How many experiences of these statuses have at least this total; from the index alone."""
    query = sa.select(sa.func.count()).where(
        ExperienceRow.instance_id == instance_id,
        ExperienceRow.status.in_(sorted(statuses)),
        ExperienceRow.total >= min_total,
    )
    return session.scalar(query) or 0


def list_newest_scores(
    session: Session, instance_id: int, statuses: Collection[str], *, limit: int
) -> Sequence[sa.Row[float, float, float, float, float, float]]:
    """The components and the total of the newest experiences of these statuses."""
    query = (
        sa.select(*(getattr(ExperienceRow, name) for name in (*COMPONENTS, "total")))
        .where(
            ExperienceRow.instance_id == instance_id,
            # Unindexed keeps SQLite from the selection index, by which all of them would be sorted.
            unindexed(ExperienceRow.status).in_(sorted(statuses)),
        )
        .order_by(ExperienceRow.seq.desc())
        .limit(limit)
    )
    return session.execute(query).all()


def find_ends(
    session: Session, instance_id: int, statuses: Collection[str]
) -> tuple[ExperienceRow, ExperienceRow] | None:
    """The first and the last experience of these statuses to arrive; None without any."""
    first, last = session.execute(
        sa.select(sa.func.min(ExperienceRow.seq), sa.func.max(ExperienceRow.seq)).where(
            ExperienceRow.instance_id == instance_id,
            ExperienceRow.status.in_(sorted(statuses)),
        )
    ).one()
    if not first:
        return None
    return session.get_one(ExperienceRow, first), session.get_one(ExperienceRow, last)


def list_by_ids(session: Session, ids: Sequence[str]) -> list[ExperienceRow]:
    """The experiences of these ids, in the order of the ids."""
    rows = session.scalars(sa.select(ExperienceRow).where(is_listed(ExperienceRow.id, ids)))
    by_id = {row.id: row for row in rows}
    return [by_id[wanted] for wanted in ids if wanted in by_id]


def list_by_seqs(session: Session, seqs: Collection[int]) -> list[ExperienceRow]:
    """The experiences of these sequence numbers, oldest first."""
    query = sa.select(ExperienceRow).where(is_listed(ExperienceRow.seq, seqs))
    return list(session.scalars(query.order_by(ExperienceRow.seq)))


def erase(session: Session, experience_seq: int, *, reason: str, now: datetime) -> None:
    """Remove every text of an experience; hash, scores, provenance and its words' hashes stay."""
    instance_id, response = session.execute(
        sa.select(ExperienceRow.instance_id, ExperienceRow.response).where(
            ExperienceRow.seq == experience_seq
        )
    ).one()
    seen_words.write_words(driver_of(session), instance_id, distinct_words(said_in(response)))
    session.execute(
        sa.update(ExperienceRow)
        .where(ExperienceRow.seq == experience_seq)
        .values(
            prompt="",
            response="",
            history=[],
            system_prompt=None,
            tool_calls=[],
            extra={},
            lessons=(),
            status=ExperienceStatus.ERASED,
            reason=reason,
            erased_at=now,
        )
        .execution_options(synchronize_session=False)
    )


def is_any_in_active_cycle(session: Session, seqs: Collection[int]) -> bool:
    """Whether a queued or running cycle trains on, rehearses or measures with one of these."""
    query = (
        sa.select(CycleExperienceRow.cycle_id)
        .join(SleepCycleRow, SleepCycleRow.id == CycleExperienceRow.cycle_id)
        .where(
            is_listed(CycleExperienceRow.experience_seq, seqs),
            SleepCycleRow.status.in_(ACTIVE_STATUSES),
        )
        .limit(1)
    )
    return session.scalar(query) is not None
