"""The append-only event log; a cycle's progress goes again some time after its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db.sleep_cycles import IS_ACTIVE
from app.db.tables import EventRow, SleepCycleRow
from app.domain.events import EVENTS, EventFacts, EventType, NoFacts
from app.domain.progress import RUNNING_STATUSES
from app.domain.stored import to_json


def append_event(
    session: Session,
    *,
    type_: EventType,
    instance_id: int,
    now: datetime,
    cycle_id: str | None = None,
    checkpoint_id: str | None = None,
    facts: EventFacts | None = None,
) -> None:
    """Write what happened; `EVENTS` says what facts go with which type, None for no facts."""
    told = facts or NoFacts()
    if type(told) is not EVENTS[type_]:
        raise TypeError(f"{type_} tells {EVENTS[type_].__name__}, not {type(told).__name__}")
    session.add(
        EventRow(
            type=type_,
            instance_id=instance_id,
            cycle_id=cycle_id,
            checkpoint_id=checkpoint_id,
            data=to_json(told),
            at=now,
        )
    )
    session.flush()


def list_progress(session: Session) -> Sequence[EventRow]:
    """How far the running cycles are, as events that are in no log: the cycles' rows have it."""
    cycle = SleepCycleRow
    found = session.execute(
        sa.select(cycle.id, cycle.instance_id, cycle.progress, cycle.heartbeat_at).where(
            IS_ACTIVE, cycle.status.in_(RUNNING_STATUSES), cycle.progress.is_not(None)
        )
    )
    return [
        EventRow(
            type=EventType.CYCLE_PROGRESS,
            instance_id=instance_id,
            cycle_id=cycle_id,
            checkpoint_id=None,
            data=to_json(progress),
            at=heartbeat_at,
        )
        for cycle_id, instance_id, progress, heartbeat_at in found
    ]


def is_logged(row: EventRow) -> bool:
    """Whether an event has a number: those of `list_progress` have none."""
    return not sa.inspect(row).transient


@dataclass(frozen=True, kw_only=True, slots=True)
class EventFilter:
    """Which events of an instance are wanted.

    Attributes:
        subject: What stands before the type's dot, such as `checkpoint`; None for any.
        has_progress: Whether the progress of running cycles is.
    """

    subject: str | None = None
    has_progress: bool = True

    def holds(self, type_: str) -> bool:
        """Whether events of a type are wanted."""
        is_subject = self.subject is None or type_.startswith(f"{self.subject}.")
        return is_subject and (self.has_progress or type_ != EventType.CYCLE_PROGRESS)


def list_instance_events(
    session: Session, instance_id: int, wanted: EventFilter, *, after_seq: int, limit: int
) -> Sequence[EventRow]:
    """Events of an instance after a sequence number, oldest first."""
    query = _of_instance(instance_id, wanted).where(EventRow.seq > after_seq)
    return session.scalars(query.order_by(EventRow.seq).limit(limit)).all()


def list_newest_instance_events(
    session: Session, instance_id: int, wanted: EventFilter, *, before_seq: int, limit: int
) -> Sequence[EventRow]:
    """Events of an instance before a sequence number, newest first."""
    query = _of_instance(instance_id, wanted).where(EventRow.seq < before_seq)
    return session.scalars(query.order_by(EventRow.seq.desc()).limit(limit)).all()


def find_newest_seq(session: Session) -> int:
    """Sequence number of the newest event of any instance; 0 when there is none."""
    return session.scalar(sa.select(sa.func.max(EventRow.seq))) or 0


def list_events_after(session: Session, after_seq: int, limit: int) -> Sequence[EventRow]:
    """Events of any instance after a sequence number, oldest first."""
    query = sa.select(EventRow).where(EventRow.seq > after_seq)
    return session.scalars(query.order_by(EventRow.seq).limit(limit)).all()


def find_last_seq(session: Session, instance_id: int) -> int:
    """Sequence number of the newest event of an instance; 0 when there is none."""
    newest = sa.select(sa.func.max(EventRow.seq)).where(EventRow.instance_id == instance_id)
    return session.scalar(newest) or 0


def list_cycle_events(
    session: Session, cycle_id: str, *, after_seq: int, limit: int
) -> Sequence[EventRow]:
    """Events of a cycle after a sequence number, oldest first."""
    return session.scalars(
        sa.select(EventRow)
        .where(EventRow.cycle_id == cycle_id, EventRow.seq > after_seq)
        .order_by(EventRow.seq)
        .limit(limit)
    ).all()


def list_erased(session: Session, instance_id: int, experience_id: str) -> Sequence[EventRow]:
    """What tells of an experience that was erased, and of those that went with it."""
    told = (EventRow.data["experience_id"].as_string(), EventRow.data["repeated"].as_string())
    return session.scalars(
        sa.select(EventRow)
        .where(
            EventRow.instance_id == instance_id,
            EventRow.type == EventType.EXPERIENCE_ERASED,
            sa.or_(*(told_id == experience_id for told_id in told)),
        )
        .order_by(EventRow.seq)
    ).all()


def _of_instance(instance_id: int, wanted: EventFilter) -> sa.Select[EventRow]:
    query = sa.select(EventRow).where(EventRow.instance_id == instance_id)
    if wanted.subject is not None:
        query = query.where(EventRow.type.startswith(f"{wanted.subject}.", autoescape=True))
    return query if wanted.has_progress else query.where(EventRow.type != EventType.CYCLE_PROGRESS)
