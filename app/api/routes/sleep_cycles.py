"""/v1/sleep-cycles: asking for sleep, watching it, cancelling it, and its report."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse

from app.api.answers.accept import prefers_html
from app.api.answers.event_stream import EVENT_RESPONSES, EVENT_STREAM, list_events, stream_events
from app.api.answers.sleep_cycles import cycle_out, dry_run_out
from app.api.daemon import DaemonDep
from app.api.guards.access import AccessDep, GuardedRoute
from app.api.pages.report_page import render_report
from app.api.parameters import (
    Accept,
    Cursor,
    EventNumber,
    IdempotencyKey,
    IdPrefix,
    LastEventId,
    Limit,
    Now,
)
from app.api.problems import problem_responses
from app.api.schemas import (
    DryRunOut,
    EventOut,
    ListOut,
    SleepCycleIn,
    SleepCycleOut,
)
from app.db.tables import EventRow
from app.domain.cycle_report import CycleReport
from app.domain.decision import Trigger
from app.domain.fit import FitAnswer
from app.domain.progress import CycleStatus
from app.services import cycles, sleep

REPORT_HEADERS = {"Vary": "Accept", "Cache-Control": "no-cache"}

router = APIRouter(prefix="/v1/sleep-cycles", tags=["sleep cycles"], route_class=GuardedRoute)


@router.post(
    "",
    status_code=HTTPStatus.ACCEPTED,
    responses={
        200: {"description": "A dry run: nothing was started.", "model": DryRunOut},
        **problem_responses(
            HTTPStatus.BAD_REQUEST,
            HTTPStatus.NOT_FOUND,
            HTTPStatus.CONFLICT,
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        ),
    },
)
def request_sleep_cycle(
    response: Response,
    daemon: DaemonDep,
    access: AccessDep,
    now: Now,
    body: SleepCycleIn | None = None,
    key: IdempotencyKey = None,
) -> SleepCycleOut | DryRunOut:
    """Queue a cycle. `force` skips the waiting rules, never the gate; `dry_run` starts nothing."""
    wanted = body or SleepCycleIn()
    access.require_instance(wanted.instance)
    request = sleep.CycleRequest(
        instance=wanted.instance,
        trigger=Trigger.REQUEST,
        is_forced=wanted.force,
        recipe=wanted.overrides.recipe_changes(),
        **wanted.overrides.policy_changes(),
        idempotency_key=key,
    )
    if wanted.dry_run:
        response.status_code = HTTPStatus.OK
        preview = sleep.preview_cycle(daemon.db, request, now=now)
        fit = daemon.ask_fit(preview.question) if preview.question else FitAnswer()
        return dry_run_out(preview, fit, wanted.instance)
    cycle = sleep.request_cycle(daemon.db, request, now=now)
    daemon.on_queued()
    response.headers["Location"] = f"/v1/sleep-cycles/{cycle.id}"
    return cycle_out(cycle, wanted.instance, None)


@router.get("", responses=problem_responses(HTTPStatus.NOT_FOUND))
def list_sleep_cycles(
    daemon: DaemonDep,
    access: AccessDep,
    instance: str | None = None,
    status: CycleStatus | None = None,
    id_prefix: IdPrefix = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> ListOut[SleepCycleOut]:
    """List cycles, newest first."""
    if instance is not None:
        access.require_instance(instance)
    page, checkpoint_ids, slugs = cycles.list_cycles(
        daemon.db,
        instance=instance,
        within=access.instances,
        status=status.value if status else None,
        id_prefix=id_prefix,
        cursor=cursor,
        limit=limit,
    )
    return ListOut(
        data=[
            cycle_out(row, slugs[row.instance_id], checkpoint_ids.get(row.id)) for row in page.rows
        ],
        has_more=page.next_cursor is not None,
        next=page.next_cursor,
    )


@router.get("/{cycle_id}", responses=problem_responses(HTTPStatus.NOT_FOUND))
def get_sleep_cycle(cycle_id: str, daemon: DaemonDep) -> SleepCycleOut:
    """One cycle: its plan, progress, metrics and verdict."""
    return cycle_out(*cycles.get_cycle(daemon.db, cycle_id))


@router.post(
    "/{cycle_id}/cancel",
    status_code=HTTPStatus.ACCEPTED,
    responses=problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
def cancel_sleep_cycle(cycle_id: str, daemon: DaemonDep, now: Now) -> SleepCycleOut:
    """Cancel a queued cycle at once, or ask a running one to stop; its experiences go back."""
    sleep.cancel_cycle(daemon.db, cycle_id, now=now)
    return cycle_out(*cycles.get_cycle(daemon.db, cycle_id))


@router.get(
    "/{cycle_id}/report",
    response_model=CycleReport,
    responses={
        200: {"content": {"text/html": {}}, "description": "JSON, or a page for a person."},
        **problem_responses(HTTPStatus.NOT_FOUND),
    },
)
def get_cycle_report(
    cycle_id: str,
    response: Response,
    daemon: DaemonDep,
    accept: Accept = "",
    shape: Annotated[
        Literal["html", "json"] | None,
        Query(alias="format", description="Wins over the Accept header."),
    ] = None,
) -> Any:
    """What a cycle in any state learned and kept, the gate's verdict, and replies side by side."""
    report = cycles.get_report(daemon.db, cycle_id)
    if shape == "html" or (shape is None and prefers_html(accept)):
        page = render_report(report)
        return HTMLResponse(page.html, headers={**REPORT_HEADERS, **page.headers})
    response.headers.update(REPORT_HEADERS)
    return report


@router.get(
    "/{cycle_id}/events",
    response_model=ListOut[EventOut],
    responses={**EVENT_RESPONSES, **problem_responses(HTTPStatus.NOT_FOUND)},
)
async def list_sleep_cycle_events(
    cycle_id: str,
    request: Request,
    daemon: DaemonDep,
    accept: Accept = "",
    last_event_id: LastEventId = None,
    after: EventNumber = 0,
    limit: Limit = 200,
) -> Any:
    """A cycle's events: a JSON list, or with `Accept: text/event-stream` live until its end."""
    start = last_event_id if last_event_id is not None else after

    def read(after_seq: int, at_most: int) -> tuple[Sequence[EventRow], bool]:
        return cycles.list_events(daemon.db, cycle_id, after_seq=after_seq, limit=at_most)

    if EVENT_STREAM in accept:
        return await stream_events(
            request, read, after_seq=start, concerns=lambda row: row.cycle_id == cycle_id
        )
    return await list_events(read, after_seq=start, limit=limit)
