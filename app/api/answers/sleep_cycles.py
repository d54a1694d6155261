"""Sleep cycles as they are sent: the row, a dry run, the figures."""

from __future__ import annotations

from dataclasses import replace

from app.api.schemas import (
    CycleFiguresOut,
    DryRunOut,
    RefusalOut,
    SleepCycleOut,
)
from app.db.tables import SleepCycleRow
from app.domain.cycle_report import find
from app.domain.fit import FitAnswer
from app.services import sleep


def cycle_out(row: SleepCycleRow, instance: str, checkpoint_id: str | None) -> SleepCycleOut:
    """A cycle as it is sent."""
    same = set(SleepCycleOut.model_fields) - {"instance", "forced", "checkpoint_id"}
    values = {name: getattr(row, name) for name in same}
    return SleepCycleOut(
        **values, instance=instance, forced=row.is_forced, checkpoint_id=checkpoint_id
    )


def dry_run_out(preview: sleep.CyclePreview, fit: FitAnswer, instance: str) -> DryRunOut:
    """What a cycle would do, and what would keep it from being started."""
    plan, refusal = preview.plan, preview.refusal
    return DryRunOut(
        instance=instance,
        refused=RefusalOut(code=refusal.code, detail=refusal.message) if refusal else None,
        decision=preview.decision,
        experience_ids=plan.experience_ids,
        rehearsal_ids=plan.rehearsal_ids,
        held_out_ids=plan.held_out_ids,
        set_aside=fit.set_aside,
        error=fit.error,
        plan=replace(plan, layers=fit.layers) if fit.layers else plan,
    )


def cycle_figures_out(row: SleepCycleRow, checkpoint_id: str | None) -> CycleFiguresOut:
    """What a cycle learned and kept."""
    found = find(row.metrics, row.verdict)
    names = (
        "id", "number", "status", "trigger", "created_at", "started_at", "finished_at", "error",
    )  # fmt: skip
    return CycleFiguresOut(
        **{name: getattr(row, name) for name in names},
        trained=len(row.plan.experience_ids),
        checkpoint_id=checkpoint_id,
        verdict=row.verdict.status if row.verdict else None,
        failed_checks=row.verdict.failed if row.verdict else (),
        learned=found.learned,
        kept=found.kept,
        checks=found.checks,
    )
