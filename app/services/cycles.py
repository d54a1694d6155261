"""Reading sleep cycles: one, a page of them, their events, and the report of each."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from app.db import checkpoints, events, instances, lineage, sleep_cycles
from app.db.engine import Database
from app.db.paging import Page
from app.db.tables import CheckpointRow, EventRow, SleepCycleRow
from app.domain.cycle_report import CycleFindings, find, summarise
from app.domain.experience import CycleRole
from app.domain.progress import CycleStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class CycleReport:
    """A cycle, its checkpoint, what it used (id, role, weight, status) and what was found."""

    cycle: SleepCycleRow
    instance: str
    checkpoint: CheckpointRow | None
    aliases: Sequence[str]
    uses: Sequence[tuple[str, str, float, str]]
    findings: CycleFindings
    summary: str


def get_cycle(db: Database, cycle_id: str) -> tuple[SleepCycleRow, str, str | None]:
    """Return one cycle, its instance's slug and its checkpoint's id."""
    with db.read() as session:
        cycle = sleep_cycles.get_cycle(session, cycle_id)
        checkpoint = checkpoints.find_by_cycle(session, cycle_id)
        slug = instances.get_instance_by_id(session, cycle.instance_id).slug
        return cycle, slug, checkpoint.id if checkpoint else None


def list_cycles(
    db: Database,
    *,
    instance: str | None,
    status: str | None,
    cursor: str | None,
    limit: int,
    within: Collection[str] | None = None,
) -> tuple[Page[SleepCycleRow], dict[str, str], dict[int, str]]:
    """One page of cycles, newest first; checkpoint ids by cycle, and slugs by instance.

    Args:
        within: Only of instances of these slugs; None for all. `instance` is one of them.
    """
    with db.read() as session:
        instance_id = instances.get_instance(session, instance).id if instance else None
        page = sleep_cycles.list_cycles(
            session,
            instance_id=instance_id,
            slugs=None if instance else within,
            status=status,
            cursor=cursor,
            limit=limit,
        )
        published = checkpoints.ids_by_cycle(session, [row.id for row in page.rows])
        return page, published, instances.slugs_of(session, {row.instance_id for row in page.rows})


def list_events(
    db: Database, cycle_id: str, *, after_seq: int, limit: int
) -> tuple[list[EventRow], bool]:
    """Events of a cycle after a number, oldest first, and whether the cycle is over."""
    with db.read() as session:
        cycle = sleep_cycles.get_cycle(session, cycle_id)
        rows = events.list_cycle_events(session, cycle_id, after_seq=after_seq, limit=limit)
        return list(rows), not CycleStatus(cycle.status).is_active


def get_report(db: Database, cycle_id: str) -> CycleReport:
    """The report of a cycle in any state. Raises: SleepCycleNotFound."""
    with db.read() as session:
        cycle = sleep_cycles.get_cycle(session, cycle_id)
        checkpoint = checkpoints.find_by_cycle(session, cycle_id)
        aliases = checkpoints.list_aliases_of(session, checkpoint.id) if checkpoint else []
        uses = lineage.list_cycle_uses(session, cycle_id)
        findings = find(cycle.metrics, cycle.verdict)
        return CycleReport(
            cycle=cycle,
            instance=instances.get_instance_by_id(session, cycle.instance_id).slug,
            checkpoint=checkpoint,
            aliases=aliases,
            uses=uses,
            findings=findings,
            summary=summarise(
                number=cycle.number,
                status=CycleStatus(cycle.status),
                trigger=cycle.trigger,
                trained=sum(role == CycleRole.TRAIN for _, role, _, _ in uses),
                aliases=aliases,
                is_regressed=checkpoint is not None and checkpoint.regressed_at is not None,
                failed_checks=[check.words for check in findings.checks if not check.passed],
                error=cycle.error,
                progress=cycle.progress,
            ),
        )
