"""What a cycle may train on, rehearse or measure with, in the order in which it is chosen."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from app.db.elements import unindexed
from app.db.listed import is_listed
from app.db.statuses import WAITING
from app.db.tables import ExperienceRow
from app.domain.experience import ExperienceStatus
from app.domain.selection import Selectable

_SELECTABLE = (
    ExperienceRow.seq,
    ExperienceRow.id,
    ExperienceRow.content_sha256,
    ExperienceRow.total,
)


TEXTS_AT_ONCE = 64


def list_waiting(
    session: Session, instance_id: int, *, min_salience: float, limit: int
) -> list[Selectable]:
    """Experiences that may be trained, never one of the held-out tenth.

    What counts towards the mass goes before what does not, of each the most salient first: the rest
    of a flood that earlier cycles left out, however salient, must not push new experiences out of
    the limit, nor out of the cycle. One status at a time, so that each query walks the selection
    index and stops at the limit. A near copy of what stands consolidated is not among them.
    """
    found: list[Selectable] = []
    for status in WAITING:
        if len(found) < limit:
            of_this = _list_most_salient(
                session,
                limit - len(found),
                min_salience,
                ExperienceRow.instance_id == instance_id,
                ExperienceRow.status == status,
                ExperienceRow.is_kept_out.is_(False),
                ~_is_trained_by_its_like(),
            )
            is_counted = status == ExperienceStatus.BUFFERED
            found += of_this if is_counted else [replace(it, is_counted=False) for it in of_this]
    return found


def list_trainable(session: Session, instance_id: int) -> list[int]:
    """Sequence numbers of all experiences that may be trained, in order, however salient."""
    return list(
        session.scalars(
            sa.select(ExperienceRow.seq)
            .where(
                ExperienceRow.instance_id == instance_id,
                ExperienceRow.status.in_(WAITING),
                ExperienceRow.is_kept_out.is_(False),
                ~_is_trained_by_its_like(),
            )
            .order_by(ExperienceRow.seq)
        )
    )


def list_by_seqs(session: Session, seqs: Collection[int]) -> list[Selectable]:
    """The experiences of these sequence numbers, oldest first."""
    query = sa.select(*_SELECTABLE).where(is_listed(ExperienceRow.seq, seqs))
    return sorted(_selectables(session, query), key=lambda item: item.seq)


def stream_texts(
    session: Session, seqs: Collection[int]
) -> Iterable[sa.Row[int, str, str, str | None]]:
    """Sequence number, prompt, response and phase of these experiences, a few in memory."""
    columns = (
        ExperienceRow.seq,
        ExperienceRow.prompt,
        ExperienceRow.response,
        ExperienceRow.phase,
    )
    query = sa.select(*columns).where(is_listed(ExperienceRow.seq, seqs))
    return session.execute(query, execution_options={"yield_per": TEXTS_AT_ONCE})


def list_rehearsal_pool(session: Session, instance_id: int, limit: int) -> list[Selectable]:
    """The most salient of the consolidated experiences."""
    return _list_most_salient(
        session,
        limit,
        0.0,
        ExperienceRow.instance_id == instance_id,
        ExperienceRow.status == ExperienceStatus.CONSOLIDATED,
    )


def list_held_out(session: Session, instance_id: int, limit: int) -> list[Selectable]:
    """The newest of the held-out tenth, newest first."""
    # Unindexed keeps SQLite on the selection index, which holds the sequence too. Left to itself it
    # walks the instance's whole history where little was held out.
    newest = (
        sa.select(ExperienceRow.seq)
        .where(
            ExperienceRow.instance_id == instance_id,
            ExperienceRow.status == ExperienceStatus.HELD_OUT,
        )
        .order_by(unindexed(ExperienceRow.seq).desc())
        .limit(limit)
    )
    found = _selectables(session, sa.select(*_SELECTABLE).where(ExperienceRow.seq.in_(newest)))
    return sorted(found, key=lambda item: -item.seq)


def _is_trained_by_its_like() -> sa.ColumnElement[bool]:
    like = aliased(ExperienceRow)
    return (
        sa.select(like.seq)
        .where(
            like.id == ExperienceRow.near_copy_of,
            like.status == ExperienceStatus.CONSOLIDATED,
        )
        .correlate(ExperienceRow)
        .exists()
    )


def _list_most_salient(
    session: Session, limit: int, min_total: float, *conditions: sa.ColumnElement[bool]
) -> list[Selectable]:
    """The most salient rows that meet the conditions; of equals the oldest.

    The total of the last one that fits is found first: a single query that sorts by salience and
    age visits every equal, and a caller may send one salience for all. Each query names one bound,
    since of two SQLite walks the index from the first.
    """
    last = session.scalar(
        sa.select(ExperienceRow.total)
        .where(*conditions, ExperienceRow.total >= min_total)
        .order_by(ExperienceRow.total.desc())
        .limit(1)
        .offset(limit - 1)
    )
    wanted = sa.select(*_SELECTABLE).where(*conditions)
    if last is None:
        all_ = wanted.where(ExperienceRow.total >= min_total)
        return sorted(_selectables(session, all_), key=_by_salience)
    above = _selectables(session, wanted.where(ExperienceRow.total > last))
    equal = wanted.where(ExperienceRow.total == last).order_by(ExperienceRow.seq)
    equals = _selectables(session, equal.limit(limit - len(above)))
    return sorted([*above, *equals], key=_by_salience)


def _selectables(session: Session, query: sa.Select[int, str, str, float]) -> list[Selectable]:
    return [
        Selectable(seq=row.seq, id=row.id, content_sha256=row.content_sha256, total=row.total)
        for row in session.execute(query)
    ]


def _by_salience(item: Selectable) -> tuple[float, int]:
    return -item.total, item.seq
