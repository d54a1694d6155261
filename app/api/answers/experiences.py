"""Experiences as they are sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from app.api.problems import problem_of
from app.api.schemas import (
    BatchItemOut,
    BatchOut,
    ExperienceDetailOut,
    ExperienceOut,
    ExperienceUseOut,
    ReceiptOut,
    SalienceOut,
)
from app.db.tables import ExperienceRow
from app.domain.exchange import Exchange
from app.domain.experience import COUNTED_STATUSES, ExperienceStatus
from app.services import experiences
from app.services.ingest import IngestOutcome, IngestResult


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
    return ExperienceDetailOut(
        **_columns(view.row, view.instance), lessons=list(view.row.lessons), sleep_cycles=uses
    )


def receipt_out(result: IngestResult, instance: str) -> ReceiptOut:
    """What became of an exchange that was not refused."""
    values = result.experience or {}
    status, reason = values["status"], values["reason"]
    is_filtered = status == ExperienceStatus.FILTERED
    return ReceiptOut(
        id=values["id"],
        experience_id=values["id"],
        instance=instance,
        status=status,
        stored=status in COUNTED_STATUSES,
        duplicate=result.outcome is IngestOutcome.DUPLICATE,
        filtered=is_filtered,
        filter_reason=reason if is_filtered else None,
        reason=reason,
        similarity=values["similarity"],
        truncated=bool(values["is_truncated"]),
        salience=SalienceOut(**{name: values[name] for name in SalienceOut.model_fields}),
        scorer=values["scorer"],
    )


def known_receipt_out(row: ExperienceRow, instance: str) -> ReceiptOut:
    """The same of one that is kept already."""
    names = {*SalienceOut.model_fields, "id", "status", "reason", "similarity", "is_truncated"}
    values = {name: getattr(row, name) for name in (*names, "scorer")}
    result = IngestResult(outcome=IngestOutcome.DUPLICATE, experience=values)
    return receipt_out(result, instance)


def batch_out(
    read: Sequence[Exchange | dict[str, Any]], results: Sequence[IngestResult]
) -> BatchOut:
    """What became of a batch.

    Args:
        read: Every item of it, or the problem with it.
        results: Of those that are exchanges, in their order.
    """
    rest = iter(results)
    items = [
        _batch_item(index, item, next(rest))
        if isinstance(item, Exchange)
        else BatchItemOut(index=index, result=IngestOutcome.REJECTED, problem=item)
        for index, item in enumerate(read)
    ]
    counts = Counter(item.result for item in items)
    return BatchOut(**{outcome.value: counts[outcome] for outcome in IngestOutcome}, results=items)


def _batch_item(index: int, exchange: Exchange, result: IngestResult) -> BatchItemOut:
    return BatchItemOut(
        index=index,
        result=result.outcome,
        experience=receipt_out(result, exchange.instance) if result.experience else None,
        problem=problem_of(result.error) if result.error else None,
    )


def _columns(row: ExperienceRow, instance: str) -> dict[str, Any]:
    same = set(ExperienceOut.model_fields) - {"instance", "salience", "metadata", "truncated"}
    return {
        **{name: getattr(row, name) for name in same},
        "instance": instance,
        "metadata": row.extra,
        "truncated": row.is_truncated,
        "salience": SalienceOut(**{name: getattr(row, name) for name in SalienceOut.model_fields}),
    }
