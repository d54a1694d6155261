"""/v1/experiences: exchanges come in; reading, searching and erasing what became of them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError

from app.api.answers.experiences import (
    batch_out,
    experience_detail_out,
    experience_out,
    receipt_out,
)
from app.api.daemon import Daemon, DaemonDep
from app.api.guards.access import AccessDep, GuardedRoute
from app.api.parameters import MAX_INTEGER, Cursor, IdempotencyKey, IdPrefix, Limit, Now
from app.api.problems import problem_of, problem_responses, validation_problem
from app.api.schemas import (
    BatchIn,
    BatchOut,
    ErasedOut,
    ExperienceDetailOut,
    ExperienceOut,
    ListOut,
    ReceiptOut,
)
from app.domain.access import Access
from app.domain.exchange import Exchange
from app.domain.experience import ExperienceStatus
from app.errors import InstanceForbidden
from app.services import erasure, experiences, ingest


class _MeteredRoute(GuardedRoute):
    """Takes the time of posts, those that are refused as a whole among them."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own, timed if it is a post's."""
        answer = super().get_route_handler()
        if "POST" not in (self.methods or ()):
            return answer

        async def answer_timed(request: Request) -> Response:
            daemon: Daemon = request.app.state.daemon
            with daemon.ingest_meter.timed(is_batch=self.path.endswith("/batch")):
                return await answer(request)

        return answer_timed


router = APIRouter(prefix="/v1/experiences", tags=["experiences"], route_class=_MeteredRoute)


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
    exchange: Exchange, request: Request, response: Response, key: IdempotencyKey = None
) -> ReceiptOut:
    """Score, filter and keep one exchange; durable before this answers."""
    daemon: Daemon = request.app.state.daemon
    access: Access = request.scope["access"]
    access.require_instance(exchange.instance)
    result = await daemon.submit(ingest.Submission(exchange=exchange, idempotency_key=key))
    daemon.ingest_meter.count(result.outcome)
    if result.outcome is ingest.IngestOutcome.DUPLICATE:
        response.status_code = HTTPStatus.OK
    return receipt_out(result, exchange.instance)


@router.post(
    "/batch",
    responses=problem_responses(
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    ),
)
def post_batch(body: BatchIn, daemon: DaemonDep, access: AccessDep, now: Now) -> BatchOut:
    """Keep up to 1000 exchanges, durably; a bad one does not stop the others.

    The body is a list of exchanges, or an object with the list `experiences`. Where the answer is
    503, or none, some may be kept: send all of it again, and each is kept once.
    """
    read = [_read(item, access) for item in body]
    submissions = [ingest.Submission(exchange=item) for item in read if isinstance(item, Exchange)]
    results = ingest.ingest_many(daemon.db, submissions, now=now, take_turn=daemon.batch_turn)
    if touched := ingest.list_touched(submissions, results):
        daemon.on_ingested(touched)
    answer = batch_out(read, results)
    daemon.ingest_meter.count(*(item.result for item in answer.results))
    return answer


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
    id_prefix: IdPrefix = None,
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
        id_prefix=id_prefix,
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
    """Erase an experience's text and its copies, and name the checkpoints trained on them."""
    done = erasure.erase_experience(daemon.db, experience_id, now=now)
    is_purged = erasure.purge_traces(
        daemon.db, kept_root=daemon.kept_root, snapshots_root=daemon.snapshots_root
    )
    return ErasedOut(
        id=done.row.id,
        status=ExperienceStatus(done.row.status),
        erased_at=done.row.erased_at,
        purged=is_purged,
        checkpoints=[checkpoint.id for checkpoint in done.checkpoints],
        erased_with=list(done.erased_with),
        taken_from=list(done.taken_from),
        repeated_in=list(done.repeated_in),
    )


def _read(item: Any, access: Access) -> Exchange | dict[str, Any]:
    """One item of a batch, or the problem with it."""
    try:
        exchange = Exchange.model_validate(item)
        access.require_instance(exchange.instance)
    except ValidationError as error:
        details = [{**found, "loc": ("body", *found["loc"])} for found in error.errors()]
        return validation_problem(details)
    except InstanceForbidden as error:
        return problem_of(error)
    return exchange
