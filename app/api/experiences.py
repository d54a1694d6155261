"""/v1/experiences: posting, reading, searching and erasing exchanges."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Response
from pydantic import ValidationError

from app.api.deps import MAX_INTEGER, Cursor, DaemonDep, IdempotencyKey, Limit, Now
from app.api.problems import problem_of, problem_responses, validation_problem
from app.api.schemas import (
    BatchItemOut,
    BatchOut,
    ErasedOut,
    ExperienceDetailOut,
    ExperienceOut,
    ExperienceUseOut,
    ListOut,
    ReceiptOut,
    SalienceOut,
)
from app.db.tables import ExperienceRow
from app.domain.exchange import Exchange
from app.domain.experience import ExperienceStatus
from app.errors import InvalidExperience
from app.services import experiences, ingest

MAX_BATCH = 1000
STORED_STATUSES = frozenset(ExperienceStatus) - {
    ExperienceStatus.FILTERED,
    ExperienceStatus.BELOW_THRESHOLD,
    ExperienceStatus.ERASED,
}

BATCH_EXAMPLES: dict[str, Any] = {
    "list": {"value": [{"prompt": "How was today?", "response": "We learned something."}]},
}

router = APIRouter(prefix="/v1/experiences", tags=["experiences"])


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    responses={
        200: {"description": "Known already; nothing changed.", "model": ReceiptOut},
        **problem_responses(
            HTTPStatus.BAD_REQUEST,
            HTTPStatus.NOT_FOUND,
            HTTPStatus.CONFLICT,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        ),
    },
)
async def post_experience(
    exchange: Exchange, response: Response, daemon: DaemonDep, key: IdempotencyKey = None
) -> ReceiptOut:
    """Score, filter and keep one exchange; durable before this answers."""
    result = await daemon.submit(ingest.Submission(exchange=exchange, idempotency_key=key))
    if result.outcome is ingest.IngestOutcome.DUPLICATE:
        response.status_code = HTTPStatus.OK
    return _receipt(exchange.instance, result)


@router.post(
    "/batch",
    responses=problem_responses(
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    ),
)
def post_batch(
    body: Annotated[Any, Body(openapi_examples=BATCH_EXAMPLES)], daemon: DaemonDep, now: Now
) -> BatchOut:
    """Keep up to 1000 exchanges in one transaction; a bad one does not stop the others.

    The body is a list of exchanges, or an object with the list `experiences`.
    """
    items = body.get("experiences") if isinstance(body, dict) and len(body) == 1 else body
    if not isinstance(items, list):
        raise InvalidExperience(
            'Send a list of exchanges, or {"experiences": [...]} and nothing else.', pointer=""
        )
    if len(items) > MAX_BATCH:
        raise InvalidExperience(
            f"A batch holds at most {MAX_BATCH} exchanges, not {len(items)}; split it.",
            pointer="",
        )
    results: dict[int, BatchItemOut] = {}
    valid: list[tuple[int, Exchange]] = []
    for index, item in enumerate(items):
        try:
            valid.append((index, Exchange.model_validate(item)))
        except ValidationError as error:
            details = [{**found, "loc": ("body", *found["loc"])} for found in error.errors()]
            problem = validation_problem(details)
            results[index] = BatchItemOut(index=index, result="rejected", problem=problem)
    submissions = [ingest.Submission(exchange=exchange) for _, exchange in valid]
    stored = ingest.ingest_many(daemon.db, submissions, defaults=daemon.defaults, now=now)
    for (index, exchange), result in zip(valid, stored, strict=True):
        results[index] = BatchItemOut(
            index=index,
            result=result.outcome.value,
            experience=_receipt(exchange.instance, result) if result.experience else None,
            problem=problem_of(result.error) if result.error else None,
        )
    if touched := {
        exchange.instance
        for (_, exchange), result in zip(valid, stored, strict=True)
        if result.outcome is ingest.IngestOutcome.INSERTED
    }:
        daemon.on_ingested(touched)
    ordered = [results[index] for index in range(len(items))]
    outcomes = [item.result for item in ordered]
    return BatchOut(
        inserted=outcomes.count("inserted"),
        duplicate=outcomes.count("duplicate"),
        rejected=outcomes.count("rejected"),
        results=ordered,
    )


@router.get("", responses=problem_responses(HTTPStatus.NOT_FOUND))
def list_experiences(
    daemon: DaemonDep,
    instance: str | None = None,
    status: ExperienceStatus | None = None,
    session: str | None = None,
    session_number: Annotated[int | None, Query(ge=0, le=MAX_INTEGER)] = None,
    phase: str | None = None,
    min_salience: Annotated[float | None, Query(ge=0, le=1)] = None,
    q: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=200,
            pattern=r"^[^\x00]*$",
            description="Text to look for in prompt and response.",
        ),
    ] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> ListOut[ExperienceOut]:
    """List experiences, newest first."""
    page, slugs = experiences.list_experiences(
        daemon.db,
        instance=instance,
        status=status.value if status else None,
        session_name=session,
        session_number=session_number,
        phase=phase,
        min_total=min_salience,
        text=q,
        cursor=cursor,
        limit=limit,
    )
    return ListOut(
        data=[ExperienceOut(**_columns(row, slugs[row.instance_id])) for row in page.rows],
        has_more=page.next_cursor is not None,
        next=page.next_cursor,
    )


@router.get("/{experience_id}", responses=problem_responses(HTTPStatus.NOT_FOUND))
def get_experience(experience_id: str, daemon: DaemonDep) -> ExperienceDetailOut:
    """One experience, with the cycles and checkpoints that hold it."""
    view = experiences.get_experience(daemon.db, experience_id)
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


@router.delete(
    "/{experience_id}", responses=problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)
)
def delete_experience(experience_id: str, daemon: DaemonDep, now: Now) -> ErasedOut:
    """Erase an experience's text, and name the checkpoints that were trained on it."""
    row, trained = experiences.erase_experience(daemon.db, experience_id, now=now)
    return ErasedOut(
        id=row.id,
        status=ExperienceStatus(row.status),
        erased_at=row.erased_at,
        checkpoints=[checkpoint.id for checkpoint in trained],
    )


def _receipt(instance: str, result: ingest.IngestResult) -> ReceiptOut:
    values = result.experience or {}
    status = ExperienceStatus(values["status"])
    is_filtered = status is ExperienceStatus.FILTERED
    return ReceiptOut(
        id=values["id"],
        experience_id=values["id"],
        instance=instance,
        status=status,
        stored=status in STORED_STATUSES,
        duplicate=result.outcome is ingest.IngestOutcome.DUPLICATE,
        filtered=is_filtered,
        filter_reason=values["reason"] if is_filtered else None,
        reason=values["reason"],
        similarity=values["similarity"],
        truncated=values["is_truncated"],
        salience=SalienceOut(**{name: values[name] for name in SalienceOut.model_fields}),
        scorer=values["scorer"],
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
