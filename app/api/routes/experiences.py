"""/v1/experiences: exchanges come in; reading, searching and erasing what became of them.

FastAPI parses a body to Python objects, validates those, validates the answer and encodes that in
Python. The short ways here go from bytes to exchanges and from receipts to bytes in one pass of
pydantic each: above the socket and without storing, a post of a hundred words takes 92 us instead
of 206 (tests/benchmarks/test_ingest_speed.py). A body with anything wrong or unusual about it takes
FastAPI's way, which finds what is wrong again and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request, Response
from pydantic import Field, TypeAdapter, ValidationError, WithJsonSchema
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from app.api.answers.experiences import experience_detail_out, experience_out, receipt
from app.api.daemon import Daemon, DaemonDep
from app.api.guards.access import AccessDep, GuardedRoute
from app.api.ingest_meter import IngestMeter
from app.api.parameters import MAX_INTEGER, Cursor, IdempotencyKey, Limit, Now
from app.api.problems import problem_of, problem_responses, validation_problem
from app.api.schemas import (
    BatchOut,
    ErasedOut,
    ExperienceDetailOut,
    ExperienceOut,
    ListOut,
    ReceiptOut,
)
from app.clock import utc_now
from app.domain.access import Access
from app.domain.exchange import Exchange
from app.domain.experience import ExperienceStatus
from app.errors import InstanceForbidden, InvalidExperience
from app.services import erasure, experiences, ingest

MAX_BATCH = 1000

BATCH_EXAMPLES: dict[str, Any] = {
    "list": {"value": [{"prompt": "How was today?", "response": "We learned something."}]},
}

_LIST = {"type": "array", "maxItems": MAX_BATCH}
BATCH_SCHEMA: dict[str, Any] = {
    "anyOf": [
        _LIST,
        {
            "type": "object",
            "properties": {"experiences": _LIST},
            "required": ["experiences"],
            "additionalProperties": False,
        },
    ]
}
"""Of exchanges, each of which is judged by itself."""

_BATCH = TypeAdapter(Annotated[list[Exchange], Field(max_length=MAX_BATCH)])


class PostRoute(GuardedRoute):
    """Tries its endpoint's short way, and goes FastAPI's where there is none."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """One handler of the two."""
        go_fastapis_way = super().get_route_handler()
        if "POST" not in (self.methods or ()):
            return go_fastapis_way

        async def handle(request: Request) -> Response:
            meter: IngestMeter = request.app.state.daemon.ingest_meter
            with meter.timed(is_batch=self.endpoint is post_batch):
                return await take(request)

        async def take(request: Request) -> Response:
            media_type = request.headers.get("content-type", "").partition(";")[0]
            key = request.headers.get("idempotency-key")
            if media_type == "application/json" and (key is None or 1 <= len(key) <= 256):
                go_short_way = SHORT_WAYS[self.endpoint]
                try:
                    daemon, access = request.app.state.daemon, request.scope["access"]
                    return await go_short_way(daemon, access, await request.body(), key)
                except (ValidationError, ClientDisconnect):
                    pass
            return await go_fastapis_way(request)

        return handle


router = APIRouter(prefix="/v1/experiences", tags=["experiences"], route_class=PostRoute)


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    response_model=ReceiptOut,
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
    exchange: Exchange,
    response: Response,
    daemon: DaemonDep,
    access: AccessDep,
    key: IdempotencyKey = None,
) -> Any:
    """Score, filter and keep one exchange; durable before this answers."""
    kept = await _store(daemon, access, exchange, key)
    if kept["duplicate"]:
        response.status_code = HTTPStatus.OK
    return kept


async def _post_experience(
    daemon: Daemon, access: Access, body: bytes, key: str | None
) -> Response:
    """The short way."""
    kept = await _store(daemon, access, Exchange.model_validate_json(body), key)
    return _respond(kept, HTTPStatus.OK if kept["duplicate"] else HTTPStatus.CREATED)


@router.post(
    "/batch",
    response_model=BatchOut,
    responses=problem_responses(
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    ),
)
def post_batch(
    body: Annotated[Any, Body(openapi_examples=BATCH_EXAMPLES), WithJsonSchema(BATCH_SCHEMA)],
    daemon: DaemonDep,
    access: AccessDep,
    now: Now,
) -> Any:
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
    return _store_batch(daemon, access, [_read(item) for item in items], now=now)


async def _post_batch(daemon: Daemon, access: Access, body: bytes, _key: str | None) -> Response:
    """The short way."""

    def read_and_store() -> Response:
        return _respond(_store_batch(daemon, access, _BATCH.validate_json(body), now=utc_now()))

    with daemon.writes.slot():
        return await run_in_threadpool(read_and_store)


@router.get("", responses=problem_responses(HTTPStatus.NOT_FOUND))
def list_experiences(
    daemon: DaemonDep,
    access: AccessDep,
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
    if instance is not None:
        access.require_instance(instance)
    page, slugs = experiences.list_experiences(
        daemon.db,
        instance=instance,
        within=access.instances,
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
        data=[experience_out(row, slugs[row.instance_id]) for row in page.rows],
        has_more=page.next_cursor is not None,
        next=page.next_cursor,
    )


@router.get("/{experience_id}", responses=problem_responses(HTTPStatus.NOT_FOUND))
def get_experience(experience_id: str, daemon: DaemonDep) -> ExperienceDetailOut:
    """One experience, with the cycles and checkpoints that hold it."""
    return experience_detail_out(experiences.get_experience(daemon.db, experience_id))


@router.delete(
    "/{experience_id}", responses=problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)
)
def delete_experience(experience_id: str, daemon: DaemonDep, now: Now) -> ErasedOut:
    """Erase an experience's text, and name the checkpoints that were trained on it."""
    row, trained = experiences.erase_experience(daemon.db, experience_id, now=now)
    is_purged = erasure.purge_traces(
        daemon.db, kept_root=daemon.kept_root, snapshots_root=daemon.snapshots_root
    )
    return ErasedOut(
        id=row.id,
        status=ExperienceStatus(row.status),
        erased_at=row.erased_at,
        purged=is_purged,
        checkpoints=[checkpoint.id for checkpoint in trained],
    )


async def _store(
    daemon: Daemon, access: Access, exchange: Exchange, key: str | None
) -> dict[str, Any]:
    access.require_instance(exchange.instance)
    result = await daemon.submit(ingest.Submission(exchange=exchange, idempotency_key=key))
    daemon.ingest_meter.count((result.outcome.value,))
    return receipt(exchange.instance, result)


def _read(item: Any) -> Exchange | dict[str, Any]:
    """One item of a batch, or the problem with it."""
    try:
        return Exchange.model_validate(item)
    except ValidationError as error:
        details = [{**found, "loc": ("body", *found["loc"])} for found in error.errors()]
        return validation_problem(details)


def _own(access: Access, item: Exchange | dict[str, Any]) -> Exchange | dict[str, Any]:
    """An item of a batch, or the problem that it is for a foreign instance."""
    try:
        if isinstance(item, Exchange):
            access.require_instance(item.instance)
    except InstanceForbidden as error:
        return problem_of(error)
    return item


def _store_batch(
    daemon: Daemon, access: Access, read: Sequence[Exchange | dict[str, Any]], *, now: datetime
) -> dict[str, Any]:
    """Store the exchanges among the items; returns a `BatchOut` as a dict."""
    items = read if access.instances is None else [_own(access, item) for item in read]
    submissions = [ingest.Submission(exchange=item) for item in items if isinstance(item, Exchange)]
    stored = ingest.ingest_many(daemon.db, submissions, now=now)
    if touched := {
        submission.exchange.instance
        for submission, result in zip(submissions, stored, strict=True)
        if result.outcome is ingest.IngestOutcome.INSERTED
    }:
        daemon.on_ingested(touched)
    results: list[dict[str, Any]] = [
        {"index": index, "result": "rejected", "experience": None, "problem": item}
        for index, item in enumerate(items)
    ]
    places = (results[index] for index, item in enumerate(items) if isinstance(item, Exchange))
    for place, submission, result in zip(places, submissions, stored, strict=True):
        place["result"] = result.outcome.value
        place["problem"] = None if result.error is None else problem_of(result.error)
        if result.experience is not None:
            place["experience"] = receipt(submission.exchange.instance, result)
    outcomes = [result["result"] for result in results]
    daemon.ingest_meter.count(outcomes)
    return {
        **{outcome.value: outcomes.count(outcome.value) for outcome in ingest.IngestOutcome},
        "results": results,
    }


def _respond(answer: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(to_json(answer), status_code=status, media_type="application/json")


_ShortWay = Callable[[Daemon, Access, bytes, str | None], Coroutine[Any, Any, Response]]

SHORT_WAYS: dict[Callable[..., Any], _ShortWay] = {
    post_experience: _post_experience,
    post_batch: _post_batch,
}
