"""Experiences as they are sent."""

from __future__ import annotations

from typing import Any

from app.api.schemas import ExperienceDetailOut, ExperienceOut, ExperienceUseOut, SalienceOut
from app.db.tables import ExperienceRow
from app.domain.experience import COUNTED_STATUSES, ExperienceStatus
from app.domain.salience import COMPONENTS
from app.services import experiences, ingest


def experience_out(row: ExperienceRow, instance: str) -> ExperienceOut:
    """An experience as it is kept."""
    return ExperienceOut(**_columns(row, instance))


def experience_detail_out(view: experiences.ExperienceView) -> ExperienceDetailOut:
    """An experience with the cycles and checkpoints that hold it."""
    uses = [
        ExperienceUseOut(
            sleep_cycle_id=cycle.id,
            number=cycle.number,
            status=cycle.status,
            role=use.role,
            weight=use.weight,
            checkpoint_id=checkpoint.id if checkpoint else None,
        )
        for use, cycle, checkpoint in view.uses
    ]
    return ExperienceDetailOut(**_columns(view.row, view.instance), sleep_cycles=uses)


def receipt(instance: str, result: ingest.IngestResult) -> dict[str, Any]:
    """A `ReceiptOut` as a dict."""
    values = result.experience or {}
    status, reason = values["status"], values["reason"]
    is_filtered = status == ExperienceStatus.FILTERED
    return {
        "id": values["id"],
        "experience_id": values["id"],
        "instance": instance,
        "status": status,
        "stored": status in COUNTED_STATUSES,
        "duplicate": result.outcome is ingest.IngestOutcome.DUPLICATE,
        "filtered": is_filtered,
        "filter_reason": reason if is_filtered else None,
        "reason": reason,
        "similarity": values["similarity"],
        "truncated": bool(values["is_truncated"]),
        "salience": {name: values[name] for name in ("total", *COMPONENTS)},
        "scorer": values["scorer"],
    }


def _columns(row: ExperienceRow, instance: str) -> dict[str, Any]:
    same = set(ExperienceOut.model_fields) - {"instance", "salience", "metadata", "truncated"}
    return {
        **{name: getattr(row, name) for name in same},
        "instance": instance,
        "metadata": row.extra,
        "truncated": row.is_truncated,
        "salience": SalienceOut(**{name: getattr(row, name) for name in SalienceOut.model_fields}),
    }
