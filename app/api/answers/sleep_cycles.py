"""Sleep cycles as they are sent: the row, a dry run, the figures, the report."""

from __future__ import annotations

from dataclasses import asdict

from app.api.schemas import (
    ComparisonOut,
    CycleFiguresOut,
    CycleReportOut,
    DecisionOut,
    DryRunOut,
    FloorOut,
    LeftOutOut,
    RefusalOut,
    SleepCycleOut,
    UsedExperienceOut,
)
from app.db.tables import SleepCycleRow
from app.domain.cycle_report import find
from app.services import cycles, sleep


def cycle_out(row: SleepCycleRow, instance: str, checkpoint_id: str | None) -> SleepCycleOut:
    """A cycle as it is sent."""
    same = set(SleepCycleOut.model_fields) - {"instance", "forced", "checkpoint_id"}
    values = {name: getattr(row, name) for name in same}
    return SleepCycleOut(
        **values, instance=instance, forced=row.is_forced, checkpoint_id=checkpoint_id
    )


def dry_run_out(preview: sleep.CyclePreview, instance: str) -> DryRunOut:
    """What a cycle would do, and what would keep it from being started."""
    plan, refusal = preview.plan.to_json(), preview.refusal
    return DryRunOut(
        instance=instance,
        refused=RefusalOut(code=refusal.code, detail=refusal.message) if refusal else None,
        decision=DecisionOut(**preview.decision.to_json()),
        experience_ids=plan["experience_ids"],
        rehearsal_ids=plan["rehearsal_ids"],
        held_out_ids=plan["held_out_ids"],
        plan=plan,
    )


def cycle_figures_out(row: SleepCycleRow, checkpoint_id: str | None) -> CycleFiguresOut:
    """What a cycle learned and kept."""
    found = find(row.metrics, row.verdict)
    names = (
        "id", "number", "status", "trigger", "created_at", "started_at", "finished_at", "error",
    )  # fmt: skip
    return CycleFiguresOut(
        **{name: getattr(row, name) for name in names},
        trained=len(row.plan["experience_ids"]),
        checkpoint_id=checkpoint_id,
        verdict=row.verdict["status"] if row.verdict else None,
        failed_checks=[check.words for check in found.checks if not check.passed],
        learned=[ComparisonOut(**asdict(item)) for item in found.learned],
        kept=[ComparisonOut(**asdict(item)) for item in found.kept],
    )


def cycle_report_out(found: cycles.CycleReport) -> CycleReportOut:
    """A cycle's report."""
    cycle, checkpoint, findings = found.cycle, found.checkpoint, asdict(found.findings)
    names = (
        "id", "number", "status", "trigger", "created_at", "started_at", "finished_at", "error",
        "progress",
    )  # fmt: skip
    return CycleReportOut(
        **{name: getattr(cycle, name) for name in names},
        **findings,
        instance=found.instance,
        summary=found.summary,
        parent_checkpoint_id=cycle.plan["parent_checkpoint_id"],
        checkpoint_id=checkpoint.id if checkpoint else None,
        aliases=list(found.aliases),
        tainted_at=checkpoint.tainted_at if checkpoint else None,
        regressed_at=checkpoint.regressed_at if checkpoint else None,
        verdict=cycle.verdict["status"] if cycle.verdict else None,
        experiences=[
            UsedExperienceOut(id=name, role=role, weight=weight, status=status)
            for name, role, weight, status in found.uses
        ],
        left_out=[
            LeftOutOut(**{name: rule[name] for name in LeftOutOut.model_fields})
            for rule in cycle.plan.get("left_out", ())
        ],
        floors=[
            FloorOut(
                category=floor["category"],
                met=floor["is_met"],
                text=floor["text"],
                experience_ids=floor["experience_ids"],
            )
            for floor in cycle.plan.get("floors", ())
        ],
        recipe=cycle.plan["recipe"],
    )
