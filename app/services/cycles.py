"""Reading sleep cycles: one, a page of them, their events, and the report of each."""

from __future__ import annotations

from collections.abc import Collection

from app.db import checkpoints, events, instances, lineage, sleep_cycles
from app.db.engine import Database
from app.db.paging import Page
from app.db.tables import EventRow, SleepCycleRow
from app.domain.cycle_report import CycleReport, find, judge_floors, summarise
from app.domain.decision import Trigger
from app.domain.experience import CycleRole
from app.domain.progress import CycleStatus


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
    id_prefix: str | None = None,
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
            id_prefix=id_prefix,
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
        status, trigger = CycleStatus(cycle.status), Trigger(cycle.trigger)
        found = find(cycle.metrics, cycle.verdict)
        return CycleReport(
            id=cycle.id,
            instance=instances.get_instance_by_id(session, cycle.instance_id).slug,
            number=cycle.number,
            status=status,
            trigger=trigger,
            summary=summarise(
                number=cycle.number,
                status=status,
                trigger=trigger,
                trained=sum(use.role is CycleRole.TRAIN for use in uses),
                aliases=aliases,
                is_regressed=checkpoint is not None and checkpoint.regressed_at is not None,
                failed_checks=cycle.verdict.failed if cycle.verdict else (),
                error=cycle.error,
                progress=cycle.progress,
            ),
            created_at=cycle.created_at,
            started_at=cycle.started_at,
            finished_at=cycle.finished_at,
            parent_checkpoint_id=cycle.plan.parent_checkpoint_id,
            checkpoint_id=checkpoint.id if checkpoint else None,
            aliases=tuple(aliases),
            tainted_at=checkpoint.tainted_at if checkpoint else None,
            regressed_at=checkpoint.regressed_at if checkpoint else None,
            learned=found.learned,
            kept=found.kept,
            verdict=cycle.verdict.status if cycle.verdict else None,
            checks=found.checks,
            scale=found.scale,
            replies=found.replies,
            loss_curve=found.loss_curve,
            recall=found.recall,
            experiences=tuple(uses),
            set_aside=cycle.metrics.unfit if cycle.metrics else (),
            left_out=cycle.plan.left_out,
            floors=judge_floors(cycle.plan),
            recipe=cycle.plan.recipe,
            error=cycle.error,
            progress=cycle.progress,
        )
