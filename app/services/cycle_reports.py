"""Reading all that a cycle's report shows, in one consistent view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.db import checkpoints, instances, lineage, sleep_cycles
from app.db.engine import Database
from app.db.tables import CheckpointRow, SleepCycleRow
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
