"""Events over HTTP: as a JSON list, or live as server-sent events that can be resumed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from fastapi import Request
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from starlette.concurrency import run_in_threadpool

from app.api.schemas import EventOut, ListOut
from app.db.tables import EventRow

EVENT_STREAM = "text/event-stream"
EVENT_POLL_SECONDS = 0.5
KEEP_ALIVE_POLLS = 30
EVENTS_PER_READ = 500

EVENT_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {EVENT_STREAM: {}}, "description": "JSON, or a stream of events."}
}

ReadEvents = Callable[[int, int], tuple[Sequence[EventRow], bool]]
"""Of a sequence number and a limit: the events after it, and whether no more can come."""


async def list_events(read: ReadEvents, *, after_seq: int, limit: int) -> ListOut[EventOut]:
    """One page of events in the order they are read; `next` is the number to ask on after."""
    rows, _ = await run_in_threadpool(read, after_seq, limit + 1)
    data = [_event(row) for row in rows[:limit]]
    has_more = len(rows) > limit
    return ListOut(data=data, has_more=has_more, next=str(data[-1].id) if has_more else None)


async def stream_events(request: Request, read: ReadEvents, *, after_seq: int) -> StreamingResponse:
    """Events as they come, until no more can, the client is gone or its token is revoked.

    The first are read before the answer starts, so that an error still is a problem document.
    """
    await run_in_threadpool(read, after_seq, 1)
    return StreamingResponse(
        _stream(request, read, after_seq),
        media_type=EVENT_STREAM,
        headers={"Cache-Control": "no-cache"},
    )


async def _stream(request: Request, read: ReadEvents, after_seq: int) -> AsyncIterator[bytes]:
    # Where to resume, told before the first event too: a stream may break before one comes.
    yield f"id: {after_seq}\n\n".encode()
    quiet_polls = 0
    admission, access = request.app.state.daemon.admission, request.scope["access"]
    while await admission.still_admits(access) and not await request.is_disconnected():
        rows, is_over = await run_in_threadpool(read, after_seq, EVENTS_PER_READ)
        for row in rows:
            event = _event(row)
            after_seq = event.id
            yield format_sse_event(
                data_str=event.model_dump_json(by_alias=True),
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
        data=row.facts,
    )
