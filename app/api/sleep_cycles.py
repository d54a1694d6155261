"""/v1/sleep-cycles: asking for sleep, watching it, cancelling it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from starlette.concurrency import run_in_threadpool

from app.api.deps import (
    Cursor,
    Daemon,
    DaemonDep,
    EventNumber,
    IdempotencyKey,
    LastEventId,
    Limit,
    Now,
)
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
from app.domain.sleep import CycleStatus, Trigger
from app.services import sleep

EVENT_POLL_SECONDS = 0.5
KEEP_ALIVE_POLLS = 30
EVENTS_PER_READ = 500

router = APIRouter(prefix="/v1/sleep-cycles", tags=["sleep cycles"])


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
    now: Now,
    body: SleepCycleIn | None = None,
    key: IdempotencyKey = None,
) -> SleepCycleOut | DryRunOut:
    """Queue a cycle. `force` skips the waiting rules, never the gate; `dry_run` starts nothing."""
    wanted = body or SleepCycleIn()
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
    return _cycle(cycle, wanted.instance, None)


@router.get("", responses=problem_responses(HTTPStatus.NOT_FOUND))
def list_sleep_cycles(
    daemon: DaemonDep,
    instance: str | None = None,
    status: CycleStatus | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> ListOut[SleepCycleOut]:
    """List cycles, newest first."""
    page, checkpoint_ids, slugs = sleep.list_cycles(
        daemon.db,
        instance=instance,
        status=status.value if status else None,
        cursor=cursor,
        limit=limit,
    )
    return ListOut(
        data=[_cycle(row, slugs[row.instance_id], checkpoint_ids.get(row.id)) for row in page.rows],
        has_more=page.next_cursor is not None,
        next=page.next_cursor,
    )


@router.get("/{cycle_id}", responses=problem_responses(HTTPStatus.NOT_FOUND))
def get_sleep_cycle(cycle_id: str, daemon: DaemonDep) -> SleepCycleOut:
    """One cycle: its plan, progress, metrics and verdict."""
    return _cycle(*sleep.get_cycle(daemon.db, cycle_id))


@router.post(
    "/{cycle_id}/cancel",
    status_code=HTTPStatus.ACCEPTED,
    responses=problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
def cancel_sleep_cycle(cycle_id: str, daemon: DaemonDep, now: Now) -> SleepCycleOut:
    """Cancel a queued cycle at once, or ask a running one to stop; its experiences go back."""
    sleep.cancel_cycle(daemon.db, cycle_id, defaults=daemon.defaults, now=now)
    return _cycle(*sleep.get_cycle(daemon.db, cycle_id))


@router.get(
    "/{cycle_id}/events",
    response_model=ListOut[EventOut],
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "JSON, or a stream of events."},
        **problem_responses(HTTPStatus.NOT_FOUND),
    },
)
async def list_sleep_cycle_events(
    cycle_id: str,
    request: Request,
    daemon: DaemonDep,
    accept: Annotated[str, Header()] = "",
    last_event_id: LastEventId = None,
    after: EventNumber = 0,
    limit: Limit = 200,
) -> Any:
    """A cycle's events: a JSON list, or with `Accept: text/event-stream` live until its end."""
    start = last_event_id if last_event_id is not None else after
    rows, _ = await run_in_threadpool(
        sleep.list_events, daemon.db, cycle_id, after_seq=start, limit=limit + 1
    )
    if "text/event-stream" in accept:
        stream = _stream(daemon, cycle_id, request, start)
        return StreamingResponse(
            stream, media_type="text/event-stream", headers={"Cache-Control": "no-cache"}
        )
    data = [_event(row) for row in rows[:limit]]
    has_more = len(rows) > limit
    return ListOut(data=data, has_more=has_more, next=str(data[-1].id) if has_more else None)


async def _stream(
    daemon: Daemon, cycle_id: str, request: Request, after_seq: int
) -> AsyncIterator[bytes]:
    quiet_polls = 0
    while not await request.is_disconnected():
        rows, is_over = await run_in_threadpool(
            sleep.list_events, daemon.db, cycle_id, after_seq=after_seq, limit=EVENTS_PER_READ
        )
        for row in rows:
            event = _event(row)
            after_seq = event.id
            yield format_sse_event(
                data_str=json.dumps(event.model_dump(mode="json")),
                event=event.type,
                id=str(event.id),
            )
        if is_over and len(rows) < EVENTS_PER_READ:
            return
        quiet_polls = 0 if rows else quiet_polls + 1
        if quiet_polls and quiet_polls % KEEP_ALIVE_POLLS == 0:
            yield b": still here\n\n"
        await asyncio.sleep(EVENT_POLL_SECONDS)


def _event(row: EventRow) -> EventOut:
    return EventOut(
        id=row.seq,
        type=row.type,
        at=row.at,
        sleep_cycle_id=row.cycle_id,
        checkpoint_id=row.checkpoint_id,
        data=row.data,
    )


def _cycle(row: SleepCycleRow, instance: str, checkpoint_id: str | None) -> SleepCycleOut:
    same = set(SleepCycleOut.model_fields) - {"instance", "forced", "checkpoint_id"}
    values = {name: getattr(row, name) for name in same}
    return SleepCycleOut(
        **values, instance=instance, forced=row.is_forced, checkpoint_id=checkpoint_id
    )
