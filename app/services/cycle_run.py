"""A cycle in the hands of a worker: next in line, taken with what it needs, its progress and signs.

Training happens between these transactions, never inside one. Each demands that the cycle is still
in the state, and with the worker, that the one before left it in; a worker that lost its cycle
finds out here, or at its end (`app.services.cycle_end`), and publishes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from app.db import checkpoints, events, experiences, instances, sleep_cycles
from app.db.engine import Database
from app.db.tables import CheckpointRow, ExperienceRow, SleepCycleRow
from app.domain.base_parts import BaseParts
from app.domain.checkpoint import CheckpointStatus
from app.domain.decision import Trigger
from app.domain.erasing import what_is_left
from app.domain.events import CycleStarted, EventType
from app.domain.experience import CycleRole, ExperienceStatus, TrainingExchange, Turn
from app.domain.pace import Expected, expect, expect_first
from app.domain.plan import CyclePlan
from app.domain.progress import CycleStatus, Progress, Stage
from app.domain.salience import COMPONENTS, Salience
from app.errors import CycleOwnershipLost
from app.services.instances import load_policy

_LOOKED_AT = 5
"""Measured cycles of any instance, of which one may be of the same base."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CycleOrder:
    """All that a worker needs to run one cycle, and what its stages should take."""

    cycle: SleepCycleRow
    instance: str
    plan: CyclePlan
    parent: CheckpointRow | None
    replaced: CheckpointRow | None
    parent_base_parts: BaseParts
    replaced_base_parts: BaseParts
    train: tuple[TrainingExchange, ...]
    held_out: tuple[TrainingExchange, ...]
    expected: Expected


@dataclass(frozen=True, kw_only=True, slots=True)
class NextCycle:
    """What a worker takes next, or when there will be something to take, as far as is known."""

    cycle_id: str | None = None
    in_seconds: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CycleSigns:
    """What the supervisor looks at while a worker runs."""

    is_stop_requested: bool
    heartbeat_at: datetime | None


def find_next_queued(db: Database, *, now: datetime) -> NextCycle:
    """The cycle that waits longest; one that was woken waits until its instance is idle, too."""
    with db.read() as session:
        first = sleep_cycles.find_next_queued(session)
        waits = [(row, _idle_in(session, row, now)) for row in sleep_cycles.list_woken(session)]
        ready = [*([first] if first else []), *(row for row, seconds in waits if not seconds)]
        if ready:
            return NextCycle(cycle_id=min(ready, key=lambda row: row.seq).id)
        return NextCycle(in_seconds=min((seconds for _, seconds in waits), default=None))


def _idle_in(session: Session, cycle: SleepCycleRow, now: datetime) -> float:
    """After how many seconds nobody will have wanted a woken cycle's instance for long enough."""
    instance = instances.get_instance_by_id(session, cycle.instance_id)
    wanted = [at for at in (cycle.woken_at, instance.last_exchange_at) if at is not None]
    elapsed = (now - max(wanted)).total_seconds()
    # A clock that jumped back must not hold the cycle off for longer than that.
    idle_seconds = load_policy(session, instance.id).idle_seconds
    return 0.0 if elapsed < 0 else max(0.0, idle_seconds - elapsed)


def start_cycle(db: Database, cycle_id: str, *, worker_id: str, now: datetime) -> CycleOrder:
    """Take a queued cycle for a worker and read what it needs.

    Raises: SleepCycleNotFound, CycleOwnershipLost when it is not queued.
    """
    with db.write() as session:
        cycle = sleep_cycles.get_cycle(session, cycle_id)
        attempt = cycle.attempts + 1
        taken = sleep_cycles.update_cycle(
            session,
            cycle_id,
            {
                "status": CycleStatus.TRAINING,
                "worker_id": worker_id,
                "attempts": attempt,
                "started_at": now,
                "heartbeat_at": now,
                "woken_at": None,
                "progress": Progress(stage=Stage.LOADING),
            },
            from_statuses=(CycleStatus.QUEUED,),
        )
        if not taken:
            raise CycleOwnershipLost(f"Cycle {cycle_id} is {cycle.status}, not queued.")
        events.append_event(
            session,
            type_=EventType.CYCLE_STARTED,
            instance_id=cycle.instance_id,
            cycle_id=cycle_id,
            now=now,
            facts=CycleStarted(attempt=attempt),
        )
        return _order(session, sleep_cycles.get_cycle(session, cycle_id))


def record_progress(
    db: Database,
    cycle_id: str,
    *,
    worker_id: str,
    progress: Progress,
    is_news: bool,
    heartbeat_at: datetime,
    now: datetime,
) -> bool:
    """Store how far a cycle is; returns whether someone asked it to stop.

    Args:
        is_news: The event log tells of it, too.
        heartbeat_at: When the thread that does the work last gave a sign.

    Raises: CycleOwnershipLost.
    """
    is_evaluating = progress.stage in {Stage.EVALUATING_AFTER, Stage.PUBLISHING}
    with db.write() as session:
        sleep_cycles.update_owned(
            session,
            cycle_id,
            worker_id,
            {
                "progress": progress,
                "heartbeat_at": heartbeat_at,
                "status": CycleStatus.EVALUATING if is_evaluating else CycleStatus.TRAINING,
            },
        )
        cycle = sleep_cycles.get_cycle(session, cycle_id)
        if is_news:
            events.append_event(
                session,
                type_=EventType.CYCLE_PROGRESS,
                instance_id=cycle.instance_id,
                cycle_id=cycle_id,
                now=now,
                facts=progress,
            )
        return _is_stop_requested(cycle)


def read_signs(db: Database, cycle_id: str) -> CycleSigns:
    """Whether a cycle was asked to stop, and when its worker last gave a sign."""
    with db.read() as session:
        cycle = sleep_cycles.get_cycle(session, cycle_id)
        return CycleSigns(
            is_stop_requested=_is_stop_requested(cycle), heartbeat_at=cycle.heartbeat_at
        )


def _is_stop_requested(cycle: SleepCycleRow) -> bool:
    """For good, or because its instance is wanted."""
    return cycle.cancel_requested_at is not None or cycle.woken_at is not None


def read_exchanges_within(
    session: Session, ids: Sequence[str], role: CycleRole
) -> tuple[TrainingExchange, ...]:
    """Within a transaction: the texts of these experiences, in this order, without erased ones."""
    return tuple(
        _exchange(row, role)
        for row in experiences.list_by_ids(session, ids)
        if row.status != ExperienceStatus.ERASED
    )


def _order(session: Session, cycle: SleepCycleRow) -> CycleOrder:
    plan = cycle.plan
    parent_id = plan.parent_checkpoint_id
    parent = checkpoints.get_checkpoint(session, parent_id) if parent_id else None
    replaced = _replaced(session, cycle, plan)
    return CycleOrder(
        cycle=cycle,
        instance=instances.get_instance_by_id(session, cycle.instance_id).slug,
        plan=plan,
        parent=parent,
        replaced=replaced,
        parent_base_parts=checkpoints.base_parts_of(session, parent) if parent else {},
        replaced_base_parts=checkpoints.base_parts_of(session, replaced) if replaced else {},
        train=(
            *read_exchanges_within(session, plan.experience_ids, CycleRole.TRAIN),
            *read_exchanges_within(session, plan.rehearsal_ids, CycleRole.REHEARSAL),
        ),
        held_out=read_exchanges_within(session, plan.held_out_ids, CycleRole.HELD_OUT),
        expected=_expected(session, cycle),
    )


def _expected(session: Session, cycle: SleepCycleRow) -> Expected:
    """By the newest cycle that was measured on this base; this instance's, if it has one."""
    rows = (
        *sleep_cycles.list_measured(session, instance_id=cycle.instance_id, limit=1),
        *sleep_cycles.list_measured(session, instance_id=None, limit=_LOOKED_AT),
    )
    for row in rows:
        if row.plan.base_model == cycle.plan.base_model and row.metrics is not None:
            ratio = cycle.plan.example_count / max(row.plan.example_count, 1)
            return expect(row.metrics.seconds, examples_ratio=ratio)
    return expect_first(cycle.plan.example_count)


def _replaced(session: Session, cycle: SleepCycleRow, plan: CyclePlan) -> CheckpointRow | None:
    """What a cycle that starts from the base by itself must not fall behind.

    A person who asks for a new start may want something forgotten.
    """
    is_new_start = plan.parent_checkpoint_id is None and cycle.trigger != Trigger.REBUILD
    if not is_new_start or plan.replaces_checkpoint_id is None:
        return None
    row = checkpoints.get_checkpoint(session, plan.replaces_checkpoint_id)
    return row if row.status == CheckpointStatus.READY else None


def _exchange(row: ExperienceRow, role: CycleRole) -> TrainingExchange:
    return TrainingExchange(
        experience_id=row.id,
        prompt=row.prompt,
        response=row.response,
        salience=Salience(**{name: getattr(row, name) for name in COMPONENTS}),
        history=tuple(
            Turn(role=turn["role"], content=turn["content"]) for turn in what_is_left(row.history)
        ),
        system_prompt=row.system_prompt,
        session=row.session,
        phase=row.phase,
        is_truncated=row.is_truncated,
        role=role,
        lessons=row.lessons,
    )
