"""What live sessions report of checkpoints, and the rollback that enough bad reports cause.

A report counts while the checkpoint it is about is current, from the promotion that made it so; a
session has one voice, so several must agree. The report that tips the balance rolls back within its
own transaction, so no cycle and no second report can come between. What a rollback brought back is
not taken back in turn: reports step back once per promotion, and a person decides about the rest.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from app.clock import new_id
from app.db import checkpoints, events, instances, reports, sleep_cycles
from app.db.engine import Database
from app.db.paging import Page
from app.db.tables import CheckpointReportRow, CheckpointRow
from app.domain.checkpoint import Alias, AliasAction
from app.domain.events import CheckpointRegressed, EventType
from app.domain.policy import SleepPolicy
from app.domain.regression import (
    Regression,
    SessionReport,
    count_considered,
    find_faults,
    judge_reports,
)
from app.errors import IdempotencyKeyReused, ReportIdConflict
from app.services.alias_moves import roll_back_within
from app.services.instances import load_policy
from app.services.sleep import cancel_within

MAX_NAMED = 5
MAX_NAME = 64

ACTOR = "live-regression"
"""Who moves the aliases in the history when reports do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportSubmission:
    """A session's report as it was sent; `report_id` is the session's own id for it."""

    checkpoint_id: str
    session: str
    repetition_ratio: float
    score: float | None = None
    note: str | None = None
    report_id: str | None = None

    @property
    def sha256(self) -> str:
        """Hash of what was sent, which tells a repeated report from another one."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportView:
    """A report, and what the instance's policy finds bad about it."""

    row: CheckpointReportRow
    faults: tuple[str, ...]


def record_report(
    db: Database,
    submission: ReportSubmission,
    *,
    idempotency_key: str | None,
    now: datetime,
    token_id: str | None = None,
) -> tuple[ReportView, bool]:
    """Keep a session's report; roll back if it is one bad session too many.

    Args:
        token_id: Of the token that it came with; None where none was demanded.

    Returns:
        The report, and whether it is new.

    Raises: CheckpointNotFound, ReportIdConflict, IdempotencyKeyReused.
    """
    with db.write() as session:
        checkpoint = checkpoints.get_checkpoint(session, submission.checkpoint_id)
        policy = load_policy(session, checkpoint.instance_id)
        known = reports.find_known(
            session,
            checkpoint.instance_id,
            report_id=submission.report_id,
            idempotency_key=idempotency_key,
        )
        if known is not None:
            _check_same(known, submission, idempotency_key)
            return _view(known, policy), False
        standing = checkpoints.find_last_move(session, checkpoint.instance_id, Alias.CURRENT)
        is_current = standing is not None and standing.to_checkpoint_id == checkpoint.id
        row = reports.insert_report(
            session,
            {
                "id": new_id(),
                "instance_id": checkpoint.instance_id,
                "move_seq": standing.seq if standing is not None and is_current else None,
                "idempotency_key": idempotency_key,
                "token_id": token_id,
                "body_sha256": submission.sha256,
                "received_at": now,
                **asdict(submission),
            },
        )
        if row.move_seq is not None and standing and standing.action == AliasAction.PROMOTE:
            newest = reports.list_newest_of_move(session, row.move_seq, count_considered(policy))
            regression = judge_reports([_values(item) for item in newest], policy)
            if regression.is_regressed:
                reports.mark_rolled_back(session, row)
                _take_back(session, checkpoint, row, regression, policy, now=now)
        return _view(row, policy), True


def list_reports(
    db: Database,
    checkpoint_id: str,
    *,
    cursor: str | None,
    limit: int,
) -> tuple[list[ReportView], str | None]:
    """One page of a checkpoint's reports, newest first, and the next cursor.

    Raises: CheckpointNotFound.
    """
    with db.read() as session:
        checkpoint = checkpoints.get_checkpoint(session, checkpoint_id)
        policy = load_policy(session, checkpoint.instance_id)
        page: Page[CheckpointReportRow] = reports.list_reports(
            session, checkpoint_id, cursor=cursor, limit=limit
        )
        return [_view(row, policy) for row in page.rows], page.next_cursor


def _take_back(
    session: Session,
    checkpoint: CheckpointRow,
    report: CheckpointReportRow,
    regression: Regression,
    policy: SleepPolicy,
    *,
    now: datetime,
) -> None:
    """Mark the checkpoint, roll back, and cancel the cycle that would go on from it."""
    checkpoints.update_checkpoint(session, checkpoint.id, {"regressed_at": now})
    events.append_event(
        session,
        type_=EventType.CHECKPOINT_REGRESSED,
        instance_id=checkpoint.instance_id,
        cycle_id=checkpoint.cycle_id,
        checkpoint_id=checkpoint.id,
        now=now,
        facts=CheckpointRegressed(
            bad_reports=regression.bad,
            considered=regression.considered,
            limit=policy.regression_reports,
            report_id=report.id,
            sessions=regression.sessions,
            token_ids=regression.token_ids,
        ),
    )
    active = sleep_cycles.find_active(session, checkpoint.instance_id)
    if active is not None and active.plan.parent_checkpoint_id == checkpoint.id:
        cancel_within(session, active, now=now)
    roll_back_within(
        session,
        instances.get_instance_by_id(session, checkpoint.instance_id),
        actor=ACTOR,
        reason=f"{regression.text}; by {_in_words(regression)}",
        # Where nothing erased was live, no automatic move brings it back.
        passes_over_tainted=checkpoint.tainted_at is None,
        now=now,
    )


def _in_words(regression: Regression) -> str:
    """Who said so, for a person; names of sessions are cut, since anyone may choose a long one."""
    names = [json.dumps(name[:MAX_NAME], ensure_ascii=True) for name in regression.sessions]
    told = f"the sessions {', '.join(names[:MAX_NAMED])}"
    if len(names) > MAX_NAMED:
        told += f" and {len(names) - MAX_NAMED} more"
    tokens = ", ".join(regression.token_ids[:MAX_NAMED])
    return f"{told}, token {tokens}" if tokens else told


def _check_same(
    known: CheckpointReportRow, submission: ReportSubmission, idempotency_key: str | None
) -> None:
    if known.body_sha256 == submission.sha256:
        return
    if submission.report_id is not None and known.report_id == submission.report_id:
        raise ReportIdConflict(
            "This report_id was used for another report; use a new one.",
            pointer="/report_id",
            report=known.id,
        )
    raise IdempotencyKeyReused(
        f"The Idempotency-Key {idempotency_key!r} was used for another report; use a new key.",
        report=known.id,
    )


def _values(row: CheckpointReportRow) -> SessionReport:
    return SessionReport(
        repetition_ratio=row.repetition_ratio,
        score=row.score,
        session=row.session,
        token_id=row.token_id,
    )


def _view(row: CheckpointReportRow, policy: SleepPolicy) -> ReportView:
    return ReportView(row=row, faults=find_faults(_values(row), policy))
