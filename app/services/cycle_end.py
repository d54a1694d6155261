"""How a cycle ends: completed, failed, cancelled, or settled after its worker died.

Each end is one transaction that takes it all along: checkpoint, experiences, aliases and events.
What a worker ends must still be its own (`sleep_cycles.update_owned`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy.orm import Session

from app.db import checkpoints, events, lineage, sleep_cycles, statuses
from app.db.engine import Database
from app.db.tables import CheckpointRow, SleepCycleRow
from app.domain.checkpoint import Alias, CheckpointFile, CheckpointStatus
from app.domain.curation import NEAR_COPIES
from app.domain.events import (
    CycleJudged,
    CycleRequeued,
    EventType,
    ExperiencesSetAside,
    WorkerEnded,
)
from app.domain.experience import Unfit
from app.domain.gate import Verdict
from app.domain.policy import Promotion
from app.domain.progress import RUNNING_STATUSES, CycleError, CycleStatus, Progress, Stage
from app.domain.report import TrainingReport
from app.domain.worker_end import WorkerEnd
from app.services.alias_moves import promote_within, propose_within
from app.services.instances import load_policy

MAX_CYCLE_STARTS = 3
"""A cycle whose worker died this often is failed instead of queued again."""

BLAMING_CODES = frozenset({"non-finite-loss"})
"""Failures that may lie in the experiences and count as an attempt of each. Any other is the
machine's or a setting's fault, and must not quarantine what nobody could have trained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Publication:
    """A checkpoint directory that stands on disk and waits to be registered."""

    checkpoint_id: str
    name: str
    files: Sequence[CheckpointFile]
    archive_size_bytes: int
    archive_sha256: str


def complete_cycle(
    db: Database,
    cycle_id: str,
    *,
    worker_id: str,
    publication: Publication,
    report: TrainingReport,
    verdict: Verdict,
    now: datetime,
) -> CycleStatus:
    """Register the checkpoint, consume or release the experiences, move the alias: all or nothing.

    Raises: CycleOwnershipLost; then nothing was registered and the files are orphans.
    """
    status = CycleStatus.SUCCEEDED if verdict.is_accepted else CycleStatus.REJECTED
    with db.write() as session:
        running = sleep_cycles.get_cycle(session, cycle_id)
        last = running.progress or Progress(stage=Stage.PUBLISHING)
        sleep_cycles.update_owned(
            session,
            cycle_id,
            worker_id,
            {
                "status": status,
                "finished_at": now,
                "progress": replace(last, share=1.0, remaining_seconds=0.0),
                "metrics": report,
                "verdict": verdict,
                "plan": replace(running.plan, layers=report.layers),
            },
        )
        cycle = sleep_cycles.get_cycle(session, cycle_id)
        lineage.keep_rehearsed(session, cycle_id, report.rehearsed_ids)
        _set_aside(session, cycle, report.unfit, now=now)
        checkpoint = _register(session, cycle, publication, report, verdict, now=now)
        if verdict.is_accepted:
            statuses.consolidate_claimed(session, cycle_id)
            _settle_left_out(session, cycle)
            _publish_alias(session, cycle, checkpoint, now=now)
        else:
            why = f"rejected: {'; '.join(verdict.failed)}"
            _release(session, cycle, counts_attempt=True, reason=why)
        _append_end(session, cycle, status, now=now, facts=CycleJudged(checkpoint_id=checkpoint.id))
    return status


def is_registered(db: Database, checkpoint_id: str) -> bool:
    """Whether a checkpoint got its row, for a worker that cannot know.

    Raises: DatabaseUnavailable.
    """
    with db.read() as session:
        return checkpoints.is_registered(session, checkpoint_id)


def fail_cycle(
    db: Database,
    cycle_id: str,
    *,
    worker_id: str,
    code: str,
    message: str,
    now: datetime,
    unfit: Sequence[Unfit] = (),
) -> None:
    """End a cycle as failed and give its experiences back.

    Args:
        unfit: What could not be put before the model; it is set aside, so that the next cycle goes
            on without.

    Raises: CycleOwnershipLost.
    """
    with db.write() as session:
        if unfit:
            _set_aside(session, sleep_cycles.get_cycle(session, cycle_id), unfit, now=now)
        _fail(session, cycle_id, code, message, now=now, worker_id=worker_id)


def stop_cycle(db: Database, cycle_id: str, *, worker_id: str | None, now: datetime) -> None:
    """After a worker stopped on request: cancelled if someone asked, else back to the queue."""
    with db.write() as session:
        _settle(session, cycle_id, worker_id=worker_id, is_crash=False, now=now)


def settle_dead_worker(db: Database, cycle_id: str, *, end: WorkerEnd, now: datetime) -> int:
    """After a worker is known to be dead: requeue its cycle, or fail it at the third death.

    A worker that died before it took the cycle counts too; one that was to stop, since its
    instance was woken, does not.

    Returns:
        How often the cycle was started and waits again; 0 when it is over.
    """
    with db.write() as session:
        if sleep_cycles.get_cycle(session, cycle_id).woken_at is not None:
            _settle(session, cycle_id, worker_id=None, is_crash=False, now=now)
            return 0
        if sleep_cycles.count_start(session, cycle_id):
            sleep_cycles.update_cycle(
                session,
                cycle_id,
                {"status": CycleStatus.TRAINING},
                from_statuses=(CycleStatus.QUEUED,),
            )
        _settle(session, cycle_id, worker_id=None, is_crash=True, now=now, end=end)
        cycle = sleep_cycles.get_cycle(session, cycle_id)
        return cycle.attempts if cycle.status == CycleStatus.QUEUED else 0


def settle_all_running(db: Database, *, now: datetime) -> int:
    """At daemon start, when no worker can be alive: settle what a crash left; returns how many.

    An orderly stop has settled its cycle already, so what is found running went down with the
    daemon, perhaps because of it: the start counts.
    """
    with db.write() as session:
        cycles = [cycle.id for cycle in sleep_cycles.list_running(session)]
        for cycle_id in cycles:
            _settle(session, cycle_id, worker_id=None, is_crash=True, now=now)
        return len(cycles)


def end_cancelled(session: Session, cycle: SleepCycleRow, *, now: datetime) -> None:
    """Within a transaction: end an active cycle as cancelled and give its experiences back."""
    _release(session, cycle, counts_attempt=False, reason="")
    sleep_cycles.update_cycle(
        session,
        cycle.id,
        {"status": CycleStatus.CANCELLED, "finished_at": now},
        from_statuses=(CycleStatus.QUEUED, CycleStatus.TRAINING, CycleStatus.EVALUATING),
    )
    events.append_event(
        session,
        type_=EventType.CYCLE_CANCELLED,
        instance_id=cycle.instance_id,
        cycle_id=cycle.id,
        now=now,
    )


def _register(
    session: Session,
    cycle: SleepCycleRow,
    publication: Publication,
    report: TrainingReport,
    verdict: Verdict,
    *,
    now: datetime,
) -> CheckpointRow:
    parent_id = cycle.plan.parent_checkpoint_id
    parent = checkpoints.get_checkpoint(session, parent_id) if parent_id else None
    return checkpoints.insert_checkpoint(
        session,
        {
            "id": publication.checkpoint_id,
            "instance_id": cycle.instance_id,
            "cycle_id": cycle.id,
            "name": publication.name,
            "parent_id": parent.id if parent else None,
            "base_model": cycle.plan.base_model,
            "base_sha256": report.base_sha256,
            "status": CheckpointStatus.READY,
            "verdict": verdict,
            "metrics": report,
            "files": tuple(publication.files),
            "archive_size_bytes": publication.archive_size_bytes,
            "archive_sha256": publication.archive_sha256,
            "is_pinned": False,
            "created_at": now,
            # An experience of the parent's may have been erased while the cycle ran.
            "tainted_at": now if parent and parent.tainted_at else None,
        },
    )


def _set_aside(
    session: Session, cycle: SleepCycleRow, unfit: Sequence[Unfit], *, now: datetime
) -> None:
    """Name each that the cycle could not give its model, whatever became of the others."""
    if not unfit:
        return
    statuses.set_aside(session, {one.experience_id: f"{one.code}: {one.text}" for one in unfit})
    lineage.set_aside(session, cycle.id, [one.experience_id for one in unfit])
    events.append_event(
        session,
        type_=EventType.EXPERIENCES_SET_ASIDE,
        instance_id=cycle.instance_id,
        cycle_id=cycle.id,
        now=now,
        facts=ExperiencesSetAside(
            experience_ids=tuple(one.experience_id for one in unfit),
            codes=tuple(one.code for one in unfit),
        ),
    )


def _settle_left_out(session: Session, cycle: SleepCycleRow) -> None:
    """What the cycle left out weighs no longer; why each does so is in `app.domain.curation`."""
    for left_out in cycle.plan.left_out:
        ids = left_out.experience_ids
        if left_out.rule == NEAR_COPIES:
            copies = dict(zip(ids, left_out.near_ids, strict=True))
            why = f"which cycle {cycle.number} trained"
            statuses.mark_copies(session, copies, reason=why)
        else:
            why = f"cycle {cycle.number} left it out: {left_out.text.partition(': ')[2]}"
            statuses.leave_out(session, ids, reason=why)


def _publish_alias(
    session: Session, cycle: SleepCycleRow, checkpoint: CheckpointRow, *, now: datetime
) -> None:
    """Promote; but propose under manual policy, or if a person moved `current` meanwhile."""
    current = checkpoints.find_alias_target(session, cycle.instance_id, Alias.CURRENT)
    actor = f"cycle {cycle.number}"
    reason = "accepted by the gate"
    if current != cycle.plan.replaces_checkpoint_id:
        reason += ", but current moved while the cycle ran"
    elif load_policy(session, cycle.instance_id).promotion is Promotion.MANUAL:
        reason += "; the policy leaves promotion to a person"
    else:
        promote_within(session, checkpoint, actor=actor, reason=reason, now=now)
        return
    propose_within(session, checkpoint, actor=actor, reason=reason, now=now)


def _settle(
    session: Session,
    cycle_id: str,
    *,
    worker_id: str | None,
    is_crash: bool,
    now: datetime,
    end: WorkerEnd | None = None,
) -> None:
    cycle = sleep_cycles.get_cycle(session, cycle_id)
    is_lost = worker_id is not None and cycle.worker_id != worker_id
    if CycleStatus(cycle.status) not in RUNNING_STATUSES or is_lost:
        return
    if end is not None:
        events.append_event(
            session,
            type_=end.event_type,
            instance_id=cycle.instance_id,
            cycle_id=cycle_id,
            now=now,
            facts=WorkerEnded(exit_code=end.exit_code, attempt=cycle.attempts, detail=end.message),
        )
    if cycle.cancel_requested_at is not None:
        end_cancelled(session, cycle, now=now)
    elif is_crash and cycle.attempts >= MAX_CYCLE_STARTS:
        code = "worker-died" if end is None else end.code
        last = "The daemon went down with the training process." if end is None else end.message
        message = f"Started {cycle.attempts} times without an end. {last}"
        _fail(session, cycle_id, code, message, now=now)
    else:
        sleep_cycles.update_cycle(
            session,
            cycle_id,
            {
                "status": CycleStatus.QUEUED,
                "worker_id": None,
                "attempts": cycle.attempts if is_crash else cycle.attempts - 1,
            },
            from_statuses=RUNNING_STATUSES,
        )
        events.append_event(
            session,
            type_=EventType.CYCLE_REQUEUED,
            instance_id=cycle.instance_id,
            cycle_id=cycle_id,
            now=now,
            facts=CycleRequeued(exit_code=None if end is None else end.exit_code),
        )


def _fail(
    session: Session,
    cycle_id: str,
    code: str,
    message: str,
    *,
    now: datetime,
    worker_id: str | None = None,
) -> None:
    error = CycleError(code=code, message=message)
    values = {"status": CycleStatus.FAILED, "finished_at": now, "error": error}
    sleep_cycles.update_owned(session, cycle_id, worker_id, values)
    cycle = sleep_cycles.get_cycle(session, cycle_id)
    _release(session, cycle, counts_attempt=code in BLAMING_CODES, reason=f"failed: {code}")
    _append_end(session, cycle, CycleStatus.FAILED, now=now, facts=error)


def _release(session: Session, cycle: SleepCycleRow, *, counts_attempt: bool, reason: str) -> None:
    statuses.release_claimed(
        session,
        cycle.id,
        min_salience=load_policy(session, cycle.instance_id).min_salience,
        counts_attempt=counts_attempt,
        reason=reason,
    )


def _append_end(
    session: Session,
    cycle: SleepCycleRow,
    status: CycleStatus,
    *,
    now: datetime,
    facts: CycleJudged | CycleError,
) -> None:
    events.append_event(
        session,
        type_=EventType(f"sleep_cycle.{status.value}"),
        instance_id=cycle.instance_id,
        cycle_id=cycle.id,
        now=now,
        facts=facts,
    )
