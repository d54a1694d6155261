"""A cycle's way through the database, as the worker walks it: start, progress, end.

Training happens between these transactions, never inside one. Each step demands that the cycle is
still in the state, and with the worker, that the step before left it in; a worker that lost its
cycle finds out here and publishes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from app.db import checkpoints, events, experiences, instances, sleep_cycles
from app.db.engine import Database
from app.db.tables import CheckpointRow, ExperienceRow, SleepCycleRow
from app.domain.checkpoint import Alias, CheckpointFile, CheckpointStatus
from app.domain.curation import NEAR_COPIES
from app.domain.decision import Trigger
from app.domain.experience import CycleRole, ExperienceStatus, TrainingExchange, Turn
from app.domain.gate import Verdict
from app.domain.plan import CyclePlan
from app.domain.policy import Promotion, SleepPolicy
from app.domain.progress import RUNNING_STATUSES, CycleStatus, Progress, Stage
from app.domain.report import TrainingReport
from app.domain.salience import COMPONENTS, Salience
from app.domain.worker_end import WorkerEnd
from app.errors import CycleOwnershipLost
from app.services.alias_moves import promote_within, propose_within
from app.services.instances import load_effective
from app.services.sleep import end_cancelled

MAX_CYCLE_STARTS = 3
"""A cycle whose worker died this often is failed instead of queued again."""

BLAMING_CODES = frozenset({"non-finite-loss"})
"""Failures that may lie in the experiences and count as an attempt of each. Any other is the
machine's or a setting's fault, and must not quarantine what nobody could have trained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CycleOrder:
    """All that a worker needs to run one cycle."""

    cycle: SleepCycleRow
    instance: str
    plan: CyclePlan
    parent: CheckpointRow | None
    replaced: CheckpointRow | None
    train: tuple[TrainingExchange, ...]
    held_out: tuple[TrainingExchange, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Publication:
    """A checkpoint directory that stands on disk and waits to be registered."""

    checkpoint_id: str
    name: str
    files: Sequence[CheckpointFile]
    archive_size_bytes: int
    archive_sha256: str


def find_next_queued(db: Database) -> str | None:
    """Id of the cycle that waits longest, or None."""
    with db.read() as session:
        cycle = sleep_cycles.find_next_queued(session)
        return cycle.id if cycle else None


def start_cycle(db: Database, cycle_id: str, *, worker_id: str, now: datetime) -> CycleOrder:
    """Take a queued cycle for a worker and read what it needs.

    Raises: SleepCycleNotFound, CycleOwnershipLost when it is not queued.
    """
    with db.write() as session:
        cycle = sleep_cycles.get_cycle(session, cycle_id)
        taken = sleep_cycles.update_cycle(
            session,
            cycle_id,
            {
                "status": CycleStatus.TRAINING,
                "worker_id": worker_id,
                "attempts": cycle.attempts + 1,
                "started_at": now,
                "heartbeat_at": now,
                "progress": Progress(stage=Stage.LOADING).to_json(),
            },
            from_statuses=(CycleStatus.QUEUED,),
        )
        if not taken:
            raise CycleOwnershipLost(f"Cycle {cycle_id} is {cycle.status}, not queued.")
        events.append_event(
            session,
            type_="sleep_cycle.started",
            instance_id=cycle.instance_id,
            cycle_id=cycle_id,
            now=now,
            data={"attempt": cycle.attempts + 1},
        )
        return _order(session, sleep_cycles.get_cycle(session, cycle_id))


def record_progress(
    db: Database,
    cycle_id: str,
    *,
    worker_id: str,
    progress: Progress,
    heartbeat_at: datetime,
    now: datetime,
) -> bool:
    """Store how far a cycle is; returns whether someone asked for its cancel.

    Args:
        heartbeat_at: When the thread that does the work last gave a sign.

    Raises: CycleOwnershipLost.
    """
    is_evaluating = progress.stage in {Stage.EVALUATING_AFTER, Stage.PUBLISHING}
    with db.write() as session:
        _update_owned(
            session,
            cycle_id,
            worker_id,
            {
                "progress": progress.to_json(),
                "heartbeat_at": heartbeat_at,
                "status": CycleStatus.EVALUATING if is_evaluating else CycleStatus.TRAINING,
            },
        )
        cycle = sleep_cycles.get_cycle(session, cycle_id)
        events.append_event(
            session,
            type_="sleep_cycle.progress",
            instance_id=cycle.instance_id,
            cycle_id=cycle_id,
            now=now,
            data=progress.to_json(),
        )
        return cycle.cancel_requested_at is not None


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
        _update_owned(
            session,
            cycle_id,
            worker_id,
            {
                "status": status,
                "finished_at": now,
                "metrics": report.to_json(),
                "verdict": verdict.to_json(),
            },
        )
        cycle = sleep_cycles.get_cycle(session, cycle_id)
        experiences.keep_rehearsed(session, cycle_id, report.rehearsed_ids)
        checkpoint = _register(session, cycle, publication, report, verdict, now=now)
        if verdict.is_accepted:
            experiences.consolidate_claimed(session, cycle_id)
            _settle_left_out(session, cycle)
            _publish_alias(session, cycle, checkpoint, now=now)
        else:
            failed = [check.text for check in verdict.checks if not check.is_passed]
            _release(
                session,
                cycle,
                counts_attempt=True,
                reason=f"rejected: {'; '.join(failed)}",
            )
        _append_end(session, cycle, status, now=now, data={"checkpoint_id": checkpoint.id})
    return status


def fail_cycle(
    db: Database,
    cycle_id: str,
    *,
    worker_id: str,
    code: str,
    message: str,
    now: datetime,
    experience_id: str | None = None,
) -> None:
    """End a cycle as failed and give its experiences back.

    Args:
        experience_id: The one that is to blame; it is quarantined, so that the next cycle can go
            on without it.

    Raises: CycleOwnershipLost.
    """
    with db.write() as session:
        if experience_id is not None:
            experiences.quarantine_claimed(session, cycle_id, experience_id, f"failed: {code}")
        _fail(session, cycle_id, code, message, now=now, worker_id=worker_id)


def stop_cycle(db: Database, cycle_id: str, *, worker_id: str | None, now: datetime) -> None:
    """After a worker stopped on request: cancelled if someone asked, else back to the queue."""
    with db.write() as session:
        _settle(session, cycle_id, worker_id=worker_id, is_crash=False, now=now)


def settle_dead_worker(db: Database, cycle_id: str, *, end: WorkerEnd, now: datetime) -> int:
    """After a worker is known to be dead: requeue its cycle, or fail it at the third death.

    A worker that died before it took the cycle counts too.

    Returns:
        How often the cycle was started and waits again; 0 when it is over.
    """
    with db.write() as session:
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


def list_active_ids(db: Database) -> list[str]:
    """Ids of the cycles that are queued or running, of all instances."""
    with db.read() as session:
        return sleep_cycles.list_active_ids(session)


@dataclass(frozen=True, kw_only=True, slots=True)
class CycleSigns:
    """What the supervisor looks at while a worker runs."""

    is_cancel_requested: bool
    heartbeat_at: datetime | None


def read_signs(db: Database, cycle_id: str) -> CycleSigns:
    """Whether a cycle was asked to stop, and when its worker last gave a sign."""
    with db.read() as session:
        cycle = sleep_cycles.get_cycle(session, cycle_id)
        return CycleSigns(
            is_cancel_requested=cycle.cancel_requested_at is not None,
            heartbeat_at=cycle.heartbeat_at,
        )


def _order(session: Session, cycle: SleepCycleRow) -> CycleOrder:
    plan = CyclePlan.from_json(cycle.plan)
    parent_id = plan.parent_checkpoint_id
    return CycleOrder(
        cycle=cycle,
        instance=instances.get_instance_by_id(session, cycle.instance_id).slug,
        plan=plan,
        parent=checkpoints.get_checkpoint(session, parent_id) if parent_id else None,
        replaced=_replaced(session, cycle, plan),
        train=(
            *read_exchanges_within(session, plan.experience_ids, CycleRole.TRAIN),
            *read_exchanges_within(session, plan.rehearsal_ids, CycleRole.REHEARSAL),
        ),
        held_out=read_exchanges_within(session, plan.held_out_ids, CycleRole.HELD_OUT),
    )


def _replaced(session: Session, cycle: SleepCycleRow, plan: CyclePlan) -> CheckpointRow | None:
    """What a cycle that starts from the base by itself must not fall behind.

    A person who asks for a new start may want something forgotten.
    """
    is_new_start = plan.parent_checkpoint_id is None and cycle.trigger != Trigger.REBUILD
    if not is_new_start or plan.replaces_checkpoint_id is None:
        return None
    row = checkpoints.get_checkpoint(session, plan.replaces_checkpoint_id)
    return row if row.status == CheckpointStatus.READY else None


def read_exchanges_within(
    session: Session, ids: Sequence[str], role: CycleRole
) -> tuple[TrainingExchange, ...]:
    """Within a transaction: the texts of these experiences, in this order, without erased ones."""
    return tuple(
        _exchange(row, role)
        for row in experiences.list_by_ids(session, ids)
        if row.status != ExperienceStatus.ERASED
    )


def _exchange(row: ExperienceRow, role: CycleRole) -> TrainingExchange:
    return TrainingExchange(
        experience_id=row.id,
        prompt=row.prompt,
        response=row.response,
        salience=Salience(**{name: getattr(row, name) for name in COMPONENTS}),
        history=tuple(Turn(role=turn["role"], content=turn["content"]) for turn in row.history),
        system_prompt=row.system_prompt,
        session=row.session,
        phase=row.phase,
        is_truncated=row.is_truncated,
        role=role,
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
    parent_id = cycle.plan["parent_checkpoint_id"]
    parent = checkpoints.get_checkpoint(session, parent_id) if parent_id else None
    return checkpoints.insert_checkpoint(
        session,
        {
            "id": publication.checkpoint_id,
            "instance_id": cycle.instance_id,
            "cycle_id": cycle.id,
            "name": publication.name,
            "parent_id": parent.id if parent else None,
            "base_model": cycle.plan["base_model"],
            "base_sha256": report.base_sha256,
            "status": CheckpointStatus.READY,
            "verdict": verdict.to_json(),
            "metrics": report.to_json(),
            "files": [file.to_json() for file in publication.files],
            "archive_size_bytes": publication.archive_size_bytes,
            "archive_sha256": publication.archive_sha256,
            "is_pinned": False,
            "created_at": now,
            # An experience of the parent's may have been erased while the cycle ran.
            "tainted_at": now if parent and parent.tainted_at else None,
        },
    )


def _settle_left_out(session: Session, cycle: SleepCycleRow) -> None:
    """What the cycle left out weighs no longer; why each does so is in `app.domain.curation`."""
    for rule in CyclePlan.from_json(cycle.plan).left_out:
        ids = rule["experience_ids"]
        if rule["rule"] == NEAR_COPIES:
            copies = dict(zip(ids, rule["near_ids"], strict=True))
            why = f"which cycle {cycle.number} trained"
            experiences.filter_copies(session, copies, reason=why)
        else:
            why = f"cycle {cycle.number} left it out: {rule['text'].partition(': ')[2]}"
            experiences.set_aside(session, ids, reason=why)


def _publish_alias(
    session: Session,
    cycle: SleepCycleRow,
    checkpoint: CheckpointRow,
    *,
    now: datetime,
) -> None:
    """Promote; but propose under manual policy, or if a person moved `current` meanwhile."""
    current = checkpoints.find_alias_target(session, cycle.instance_id, Alias.CURRENT)
    policy = _policy(session, cycle)
    actor = f"cycle {cycle.number}"
    reason = "accepted by the gate"
    if current != CyclePlan.from_json(cycle.plan).replaces_checkpoint_id:
        reason += ", but current moved while the cycle ran"
    elif policy.promotion is Promotion.MANUAL:
        reason += "; the policy leaves promotion to a person"
    else:
        promote_within(session, checkpoint, actor=actor, reason=reason, now=now)
        return
    propose_within(
        session,
        checkpoint,
        min_salience=policy.min_salience,
        actor=actor,
        reason=reason,
        now=now,
    )


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
            data={"exit_code": end.exit_code, "attempt": cycle.attempts, "detail": end.message},
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
            type_="sleep_cycle.requeued",
            instance_id=cycle.instance_id,
            cycle_id=cycle_id,
            now=now,
            data={"exit_code": None if end is None else end.exit_code},
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
    error = {"code": code, "message": message}
    values = {"status": CycleStatus.FAILED, "finished_at": now, "error": error}
    _update_owned(session, cycle_id, worker_id, values)
    cycle = sleep_cycles.get_cycle(session, cycle_id)
    _release(
        session,
        cycle,
        counts_attempt=code in BLAMING_CODES,
        reason=f"failed: {code}",
    )
    _append_end(session, cycle, CycleStatus.FAILED, now=now, data=error)


def _release(
    session: Session,
    cycle: SleepCycleRow,
    *,
    counts_attempt: bool,
    reason: str,
) -> None:
    experiences.release_claimed(
        session,
        cycle.id,
        min_salience=_policy(session, cycle).min_salience,
        counts_attempt=counts_attempt,
        reason=reason,
    )


def _policy(session: Session, cycle: SleepCycleRow) -> SleepPolicy:
    slug = instances.get_instance_by_id(session, cycle.instance_id).slug
    return load_effective(session, slug).policy


def _update_owned(
    session: Session, cycle_id: str, worker_id: str | None, values: Mapping[str, Any]
) -> None:
    is_owner = sleep_cycles.update_cycle(
        session, cycle_id, values, from_statuses=RUNNING_STATUSES, worker_id=worker_id
    )
    if not is_owner:
        raise CycleOwnershipLost(f"Cycle {cycle_id} is no longer with this worker.")


def _append_end(
    session: Session,
    cycle: SleepCycleRow,
    status: CycleStatus,
    *,
    now: datetime,
    data: Mapping[str, Any],
) -> None:
    events.append_event(
        session,
        type_=f"sleep_cycle.{status.value}",
        instance_id=cycle.instance_id,
        cycle_id=cycle.id,
        now=now,
        data=data,
    )
