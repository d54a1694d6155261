"""Queries on experiences: what is known, what is recent, what may be trained, who claimed it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import instances, seen_words
from app.db.paging import Page, fetch_page
from app.db.tables import (
    CheckpointRow,
    CycleExperienceRow,
    ExperienceRow,
    SleepCycleRow,
)
from app.domain.experience import MAX_ATTEMPTS, CycleRole, ExperienceStatus
from app.domain.progress import ACTIVE_STATUSES
from app.domain.salience import COMPONENTS, distinct_words
from app.domain.selection import Candidate
from app.errors import ExperienceNotFound

_CANDIDATE = (
    ExperienceRow.seq,
    ExperienceRow.id,
    ExperienceRow.content_sha256,
    ExperienceRow.total,
)

_WAITING = (ExperienceStatus.BUFFERED, ExperienceStatus.BELOW_THRESHOLD)
"""What may be trained, in the order in which it is; the first counts towards the mass."""

_CONSOLIDATED = {"status": ExperienceStatus.CONSOLIDATED, "reason": None}
"""Why an earlier cycle left it out is no longer so."""

TEXTS_AT_ONCE = 64


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


def get_experience(session: Session, experience_id: str) -> ExperienceRow:
    """Return one experience. Raises: ExperienceNotFound."""
    row = session.scalar(sa.select(ExperienceRow).where(ExperienceRow.id == experience_id))
    if row is None:
        raise ExperienceNotFound(f"There is no experience {experience_id!r}.")
    return row


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
    return fetch_page(session, ExperienceRow, conditions, cursor=cursor, limit=limit)


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
            # The + keeps SQLite from the selection index, by which all of them would be sorted.
            sa.literal_column("+experiences.status").in_(sorted(statuses)),
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


def list_candidates(
    session: Session, instance_id: int, *, min_salience: float, limit: int
) -> list[Candidate]:
    """Experiences that may be trained, never one of the held-out tenth.

    What counts towards the mass goes before what does not, of each the most salient first: the rest
    of a flood that earlier cycles left out, however salient, must not push new experiences out of
    the limit, nor out of the cycle. One status at a time, so that each query walks the selection
    index and stops at the limit.
    """
    found: list[Candidate] = []
    for status in _WAITING:
        if len(found) < limit:
            of_this = _list_most_salient(
                session,
                limit - len(found),
                min_salience,
                ExperienceRow.instance_id == instance_id,
                ExperienceRow.status == status,
                ExperienceRow.is_kept_out.is_(False),
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
                ExperienceRow.status.in_(_WAITING),
                ExperienceRow.is_kept_out.is_(False),
            )
            .order_by(ExperienceRow.seq)
        )
    )


def list_by_seqs(session: Session, seqs: Collection[int]) -> list[Candidate]:
    """The experiences of these sequence numbers, most salient first."""
    query = sa.select(*_CANDIDATE).where(_in_json(ExperienceRow.seq, seqs))
    return sorted(_candidates(session, query), key=_by_salience)


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
    query = sa.select(*columns).where(_in_json(ExperienceRow.seq, seqs))
    return session.execute(query, execution_options={"yield_per": TEXTS_AT_ONCE})


def list_rehearsal_candidates(session: Session, instance_id: int, limit: int) -> list[Candidate]:
    """The most salient of the consolidated experiences."""
    return _list_most_salient(
        session,
        limit,
        0.0,
        ExperienceRow.instance_id == instance_id,
        ExperienceRow.status == ExperienceStatus.CONSOLIDATED,
    )


def list_held_out(session: Session, instance_id: int, limit: int) -> list[Candidate]:
    """The newest of the held-out tenth, newest first."""
    # The + keeps SQLite on the selection index, which holds the sequence too. Left to itself it
    # walks the instance's whole history where little was held out.
    newest = (
        sa.select(ExperienceRow.seq)
        .where(
            ExperienceRow.instance_id == instance_id,
            ExperienceRow.status == ExperienceStatus.HELD_OUT,
        )
        .order_by(sa.text("+experiences.seq DESC"))
        .limit(limit)
    )
    found = _candidates(session, sa.select(*_CANDIDATE).where(ExperienceRow.seq.in_(newest)))
    return sorted(found, key=lambda candidate: -candidate.seq)


def list_by_ids(session: Session, ids: Sequence[str]) -> list[ExperienceRow]:
    """The experiences of these ids, in the order of the ids."""
    rows = session.scalars(sa.select(ExperienceRow).where(_in_json(ExperienceRow.id, ids)))
    by_id = {row.id: row for row in rows}
    return [by_id[wanted] for wanted in ids if wanted in by_id]


def insert_cycle_experiences(
    session: Session, cycle_id: str, role: CycleRole, candidates: Sequence[Candidate]
) -> None:
    """Record what each experience is to a cycle; its weight is its salience total."""
    if candidates:
        session.execute(
            sa.insert(CycleExperienceRow),
            [
                {
                    "cycle_id": cycle_id,
                    "experience_seq": candidate.seq,
                    "role": role.value,
                    "position": position,
                    "weight": candidate.total,
                }
                for position, candidate in enumerate(candidates)
            ],
        )


def keep_rehearsed(session: Session, cycle_id: str, experience_ids: Sequence[str]) -> None:
    """Forget the candidates for rehearsal that a cycle did not train on."""
    rehearsed = sa.select(ExperienceRow.seq).where(_in_json(ExperienceRow.id, experience_ids))
    session.execute(
        sa.delete(CycleExperienceRow)
        .where(
            CycleExperienceRow.cycle_id == cycle_id,
            CycleExperienceRow.role == CycleRole.REHEARSAL.value,
            CycleExperienceRow.experience_seq.not_in(rehearsed),
        )
        .execution_options(synchronize_session=False)
    )


def claim(session: Session, candidates: Sequence[Candidate]) -> int:
    """Take experiences for a cycle; returns how many were still free."""
    result = session.execute(
        sa.update(ExperienceRow)
        .where(
            _in_json(ExperienceRow.seq, [candidate.seq for candidate in candidates]),
            ExperienceRow.status.in_(_WAITING),
        )
        .values(status=ExperienceStatus.CLAIMED)
        .execution_options(synchronize_session=False)
    )
    return int(result.rowcount)  # type: ignore[attr-defined]  # CursorResult of an UPDATE


def consolidate_claimed(session: Session, cycle_id: str) -> int:
    """Mark the experiences that the cycle claimed as consumed; returns how many."""
    return _update_claimed(session, cycle_id, _CONSOLIDATED)


def filter_copies(session: Session, copies: Mapping[str, str], *, reason: str) -> None:
    """Put waiting near copies of what was consolidated aside for good, also those set aside before.

    Args:
        copies: What each id is a near copy of.
        reason: Follows the id of that.
    """
    trained = session.scalars(
        sa.select(ExperienceRow.id).where(
            _in_json(ExperienceRow.id, set(copies.values())),
            ExperienceRow.status == ExperienceStatus.CONSOLIDATED,
        )
    )
    known = set(trained)
    done = {copy: near for copy, near in copies.items() if near in known}
    near = sa.func.json_extract(
        json.dumps(done), sa.literal('$."').concat(ExperienceRow.id).concat('"')
    )
    why = sa.literal("near copy of ").concat(near).concat(f", {reason}")
    values = {"status": ExperienceStatus.FILTERED, "reason": why}
    _update_status(session, list(done), _WAITING, values)


def set_aside(session: Session, experience_ids: Sequence[str], *, reason: str) -> None:
    """Take buffered experiences from the salience mass; they stay candidates."""
    values = {"status": ExperienceStatus.BELOW_THRESHOLD, "reason": reason}
    _update_status(session, experience_ids, [ExperienceStatus.BUFFERED], values)


def release_claimed(
    session: Session, cycle_id: str, *, min_salience: float, counts_attempt: bool, reason: str
) -> int:
    """Give the cycle's experiences back; the third counted attempt quarantines.

    Args:
        min_salience: The instance's limit, which tells buffered from below_threshold.
        counts_attempt: False for a cancel, which is nobody's fault.
        reason: Kept with an experience that is quarantined.
    """
    values = _released(min_salience, counts_attempt=counts_attempt, reason=reason)
    return _update_claimed(session, cycle_id, values)


def release_consolidated(
    session: Session, cycle_id: str, *, min_salience: float, counts_attempt: bool, reason: str
) -> int:
    """As `release_claimed`, but of what was consumed: the checkpoint never went live."""
    values = _released(min_salience, counts_attempt=counts_attempt, reason=reason)
    return _update_trained(session, cycle_id, [ExperienceStatus.CONSOLIDATED], values)


def consolidate_released(session: Session, cycle_id: str) -> int:
    """Mark what a cycle had given back as consumed after all; returns how many."""
    return _update_trained(session, cycle_id, _WAITING, _CONSOLIDATED)


def count_taken_again(session: Session, cycle_id: str) -> int:
    """How many of those a cycle gave back another cycle has learned, or claimed, since."""
    taken = (ExperienceStatus.CONSOLIDATED, ExperienceStatus.CLAIMED)
    query = sa.select(sa.func.count()).where(
        ExperienceRow.seq.in_(_trained_by(cycle_id)), ExperienceRow.status.in_(taken)
    )
    return session.scalars(query).one()


def regrade(session: Session, instance_id: int, min_salience: float) -> None:
    """Move waiting experiences across a changed salience limit, in both directions."""
    waiting = ExperienceRow.instance_id == instance_id
    moves: tuple[tuple[list[sa.ColumnElement[bool]], ExperienceStatus], ...] = (
        (
            [
                ExperienceRow.status.in_([ExperienceStatus.BUFFERED, ExperienceStatus.HELD_OUT]),
                ExperienceRow.total < min_salience,
            ],
            ExperienceStatus.BELOW_THRESHOLD,
        ),
        (
            [
                ExperienceRow.status == ExperienceStatus.BELOW_THRESHOLD,
                ExperienceRow.total >= min_salience,
                ExperienceRow.is_kept_out.is_(True),
            ],
            ExperienceStatus.HELD_OUT,
        ),
        (
            [
                ExperienceRow.status == ExperienceStatus.BELOW_THRESHOLD,
                ExperienceRow.total >= min_salience,
                ExperienceRow.is_kept_out.is_(False),
            ],
            ExperienceStatus.BUFFERED,
        ),
    )
    for conditions, status in moves:
        session.execute(
            sa.update(ExperienceRow)
            .where(waiting, *conditions)
            .values(status=status)
            .execution_options(synchronize_session=False)
        )


def erase(session: Session, experience_seq: int, *, reason: str, now: datetime) -> None:
    """Remove every text of an experience; hash, scores, provenance and its words' hashes stay."""
    instance_id, response = session.execute(
        sa.select(ExperienceRow.instance_id, ExperienceRow.response).where(
            ExperienceRow.seq == experience_seq
        )
    ).one()
    connection = cast("sqlite3.Connection", session.connection().connection.driver_connection)
    seen_words.write_words(connection, instance_id, distinct_words(response))
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
            status=ExperienceStatus.ERASED,
            reason=reason,
            erased_at=now,
        )
        .execution_options(synchronize_session=False)
    )


def is_in_active_cycle(session: Session, experience_seq: int) -> bool:
    """Whether a queued or running cycle trains on, rehearses or measures with an experience."""
    query = (
        sa.select(CycleExperienceRow.cycle_id)
        .join(SleepCycleRow, SleepCycleRow.id == CycleExperienceRow.cycle_id)
        .where(
            CycleExperienceRow.experience_seq == experience_seq,
            SleepCycleRow.status.in_(ACTIVE_STATUSES),
        )
        .limit(1)
    )
    return session.scalar(query) is not None


def quarantine_claimed(session: Session, cycle_id: str, experience_id: str, reason: str) -> None:
    """Put one experience that the cycle claimed aside."""
    session.execute(
        sa.update(ExperienceRow)
        .where(
            ExperienceRow.id == experience_id,
            ExperienceRow.status == ExperienceStatus.CLAIMED,
            ExperienceRow.seq.in_(_trained_by(cycle_id)),
        )
        .values(status=ExperienceStatus.QUARANTINED, reason=reason)
        .execution_options(synchronize_session=False)
    )


def list_cycles_of(
    session: Session, experience_seq: int
) -> list[tuple[CycleExperienceRow, SleepCycleRow, CheckpointRow | None]]:
    """The cycles that used an experience, with the checkpoint each published, oldest first."""
    query = (
        sa.select(CycleExperienceRow, SleepCycleRow, CheckpointRow)
        .join(SleepCycleRow, SleepCycleRow.id == CycleExperienceRow.cycle_id)
        .outerjoin(CheckpointRow, CheckpointRow.cycle_id == SleepCycleRow.id)
        .where(CycleExperienceRow.experience_seq == experience_seq)
        .order_by(SleepCycleRow.seq)
    )
    return [(use, cycle, checkpoint) for use, cycle, checkpoint in session.execute(query)]


def list_experiences_of(
    session: Session, cycle_id: str
) -> Sequence[sa.Row[CycleExperienceRow, str]]:
    """What a cycle used, with public ids, in the order of the plan."""
    query = (
        sa.select(CycleExperienceRow, ExperienceRow.id)
        .join(ExperienceRow, ExperienceRow.seq == CycleExperienceRow.experience_seq)
        .where(CycleExperienceRow.cycle_id == cycle_id)
        .order_by(CycleExperienceRow.role.desc(), CycleExperienceRow.position)
    )
    return session.execute(query).all()


def _list_most_salient(
    session: Session, limit: int, min_total: float, *conditions: sa.ColumnElement[bool]
) -> list[Candidate]:
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
    wanted = sa.select(*_CANDIDATE).where(*conditions)
    if last is None:
        all_ = wanted.where(ExperienceRow.total >= min_total)
        return sorted(_candidates(session, all_), key=_by_salience)
    above = _candidates(session, wanted.where(ExperienceRow.total > last))
    equal = wanted.where(ExperienceRow.total == last).order_by(ExperienceRow.seq)
    equals = _candidates(session, equal.limit(limit - len(above)))
    return sorted([*above, *equals], key=_by_salience)


def _candidates(session: Session, query: sa.Select[int, str, str, float]) -> list[Candidate]:
    return [
        Candidate(seq=row.seq, id=row.id, content_sha256=row.content_sha256, total=row.total)
        for row in session.execute(query)
    ]


def _by_salience(candidate: Candidate) -> tuple[float, int]:
    return -candidate.total, candidate.seq


def _released(min_salience: float, *, counts_attempt: bool, reason: str) -> dict[str, Any]:
    attempts = ExperienceRow.attempts + (1 if counts_attempt else 0)
    is_spent = attempts >= MAX_ATTEMPTS if counts_attempt else sa.false()
    return {
        "attempts": attempts,
        "status": sa.case(
            (is_spent, ExperienceStatus.QUARANTINED.value),
            (ExperienceRow.total < min_salience, ExperienceStatus.BELOW_THRESHOLD.value),
            else_=ExperienceStatus.BUFFERED.value,
        ),
        "reason": sa.case((is_spent, reason), else_=ExperienceRow.reason),
    }


def _update_status(
    session: Session,
    experience_ids: Sequence[str],
    from_statuses: Collection[ExperienceStatus],
    values: Mapping[str, Any],
) -> None:
    session.execute(
        sa.update(ExperienceRow)
        .where(
            _in_json(ExperienceRow.id, experience_ids),
            ExperienceRow.status.in_(from_statuses),
        )
        .values(**values)
        .execution_options(synchronize_session=False)
    )


def _update_claimed(session: Session, cycle_id: str, values: Mapping[str, Any]) -> int:
    return _update_trained(session, cycle_id, [ExperienceStatus.CLAIMED], values)


def _update_trained(
    session: Session,
    cycle_id: str,
    from_statuses: Collection[ExperienceStatus],
    values: Mapping[str, Any],
) -> int:
    result = session.execute(
        sa.update(ExperienceRow)
        .where(
            ExperienceRow.seq.in_(_trained_by(cycle_id)),
            ExperienceRow.status.in_(from_statuses),
        )
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    return int(result.rowcount)  # type: ignore[attr-defined]  # CursorResult of an UPDATE


def _trained_by(cycle_id: str) -> sa.Select[int]:
    return sa.select(CycleExperienceRow.experience_seq).where(
        CycleExperienceRow.cycle_id == cycle_id,
        CycleExperienceRow.role == CycleRole.TRAIN.value,
    )


def _in_json(
    column: sa.orm.InstrumentedAttribute[Any], values: Collection[Any]
) -> sa.ColumnElement[bool]:
    """`column IN values` through one bound JSON array: no limit on variables, one cached plan."""
    array = sa.func.json_each(json.dumps(list(values))).table_valued("value")
    return column.in_(sa.select(array.c.value))
