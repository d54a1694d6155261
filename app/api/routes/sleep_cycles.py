"""/v1/sleep-cycles: asking for sleep, watching it, cancelling it."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request, Response

from app.api.deps import (
    Accept,
    Cursor,
    DaemonDep,
    EventNumber,
    IdempotencyKey,
    LastEventId,
    Limit,
    Now,
)
from app.api.event_stream import EVENT_RESPONSES, EVENT_STREAM, list_events, stream_events
from app.api.guards.access import AccessDep, GuardedRoute
from app.api.problems import problem_responses
from app.api.schemas import (
    DecisionOut,
    DryRunOut,
    EventOut,
    ListOut,
    RefusalOut,
    SleepCycleIn,
    SleepCycleOut,
)
from app.db.tables import EventRow, SleepCycleRow
from app.domain.decision import Trigger
from app.domain.progress import CycleStatus
from app.services import sleep

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
        max_experiences=wanted.overrides.max_experiences,
        min_salience=wanted.overrides.min_salience,
        idempotency_key=key,
    )
    if wanted.dry_run:
        response.status_code = HTTPStatus.OK
        preview = sleep.preview_cycle(daemon.db, request, defaults=daemon.defaults, now=now)
        plan = preview.plan.to_json()
        return DryRunOut(
            instance=wanted.instance,
            refused=RefusalOut(code=preview.refusal.code, detail=preview.refusal.message)
            if preview.refusal
            else None,
            decision=DecisionOut(**preview.decision.to_json()),
            experience_ids=plan["experience_ids"],
            rehearsal_ids=plan["rehearsal_ids"],
            held_out_ids=plan["held_out_ids"],
            plan=plan,
        )
    cycle = sleep.request_cycle(daemon.db, request, defaults=daemon.defaults, now=now)
    daemon.on_queued()
    response.headers["Location"] = f"/v1/sleep-cycles/{cycle.id}"
    return cycle_out(cycle, wanted.instance, None)


@router.get("", responses=problem_responses(HTTPStatus.NOT_FOUND))
def list_sleep_cycles(
    daemon: DaemonDep,
    access: AccessDep,
    instance: str | None = None,
    status: CycleStatus | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> ListOut[SleepCycleOut]:
    """List cycles, newest first."""
    if instance is not None:
        access.require_instance(instance)
    page, checkpoint_ids, slugs = sleep.list_cycles(
        daemon.db,
        instance=instance,
        within=access.instances,
        status=status.value if status else None,
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
    return cycle_out(*sleep.get_cycle(daemon.db, cycle_id))


@router.post(
    "/{cycle_id}/cancel",
    status_code=HTTPStatus.ACCEPTED,
    responses=problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
def cancel_sleep_cycle(cycle_id: str, daemon: DaemonDep, now: Now) -> SleepCycleOut:
    """Cancel a queued cycle at once, or ask a running one to stop; its experiences go back."""
    sleep.cancel_cycle(daemon.db, cycle_id, defaults=daemon.defaults, now=now)
    return cycle_out(*sleep.get_cycle(daemon.db, cycle_id))


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
        return sleep.list_events(daemon.db, cycle_id, after_seq=after_seq, limit=at_most)

    if EVENT_STREAM in accept:
        return await stream_events(request, read, after_seq=start)
    return await list_events(read, after_seq=start, limit=limit)


def cycle_out(row: SleepCycleRow, instance: str, checkpoint_id: str | None) -> SleepCycleOut:
    """A cycle as it is sent."""
    same = set(SleepCycleOut.model_fields) - {"instance", "forced", "checkpoint_id"}
    values = {name: getattr(row, name) for name in same}
    return SleepCycleOut(
        **values, instance=instance, forced=row.is_forced, checkpoint_id=checkpoint_id
    )
