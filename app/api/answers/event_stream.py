"""Events over HTTP: as a JSON list, or live as server-sent events that can be resumed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from fastapi import Request
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from starlette.concurrency import run_in_threadpool

from app.api.event_watch import EventWatch, Listener
from app.api.schemas import EventOut, ListOut
from app.db.events import is_logged
from app.db.tables import EventRow
from app.domain.events import EventType

EVENT_STREAM = "text/event-stream"
KEEP_ALIVE_SECONDS = 15.0
EVENTS_PER_READ = 500

EVENT_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {EVENT_STREAM: {}}, "description": "JSON, or a stream of events."}
}

ReadEvents = Callable[[int, int], tuple[Sequence[EventRow], bool]]
"""Of a sequence number and a limit: the events after it, and whether no more can come."""


async def list_events(read: ReadEvents, *, after_seq: int, limit: int) -> ListOut[EventOut]:
    """One page of events in the order they are read; `next` is the number to ask on after."""
    rows, _ = await run_in_threadpool(read, after_seq, limit + 1)
    data = [_event(row, row.seq) for row in rows[:limit]]
    has_more = len(rows) > limit
    return ListOut(data=data, has_more=has_more, next=str(data[-1].id) if has_more else None)


async def stream_events(
    request: Request, read: ReadEvents, *, after_seq: int, concerns: Callable[[EventRow], bool]
) -> StreamingResponse:
    """Events as they come, until no more can, the client is gone or its token is revoked.

    The first are read before the answer starts, so that an error still is a problem document.

    Args:
        concerns: Whether `read` would find a row.
    """
    await run_in_threadpool(read, after_seq, 1)
    return StreamingResponse(
        _stream(request, read, after_seq, concerns),
        media_type=EVENT_STREAM,
        headers={"Cache-Control": "no-cache"},
    )


async def _stream(
    request: Request, read: ReadEvents, after_seq: int, concerns: Callable[[EventRow], bool]
) -> AsyncIterator[bytes]:
    # Where to resume, told before the first event too: a stream may break before one comes.
    yield f"id: {after_seq}\n\n".encode()
    watch: EventWatch = request.app.state.daemon.event_watch
    async with watch.listen(request.scope["access"], concerns) as listener:
        rows: Sequence[EventRow]
        needs_reading = True
        while not listener.is_refused:
            if needs_reading:
                listener.is_behind = False
                rows, is_over = await run_in_threadpool(read, after_seq, EVENTS_PER_READ)
                is_full = len(rows) >= EVENTS_PER_READ
                if is_over and not is_full:
                    for row in rows:
                        yield _told(row, row.seq)
                    return
            else:
                rows, is_full = await _wait(listener, after_seq), False
                if not rows and not listener.is_behind and not listener.is_refused:
                    yield b": still here\n\n"
            for row in rows:
                after_seq = row.seq if is_logged(row) else after_seq
                yield _told(row, after_seq)
            # What ends a cycle is no progress: only then it is asked whether more can come.
            needs_reading = (
                is_full
                or listener.is_behind
                or (not needs_reading and any(row.type != EventType.CYCLE_PROGRESS for row in rows))
            )


async def _wait(listener: Listener, after_seq: int) -> list[EventRow]:
    """What the listener is told and was not read before."""
    rows = await listener.wait(KEEP_ALIVE_SECONDS)
    return [row for row in rows if not is_logged(row) or row.seq > after_seq]


def _told(row: EventRow, seq: int) -> bytes:
    """One event; what is in no log has the number of the one before it, to resume after."""
    event = _event(row, seq)
    return format_sse_event(
        data_str=event.model_dump_json(by_alias=True), event=event.type, id=str(event.id)
    )


def _event(row: EventRow, seq: int) -> EventOut:
    return EventOut(
        id=seq,
        type=row.type,
        at=row.at,
        sleep_cycle_id=row.cycle_id,
        checkpoint_id=row.checkpoint_id,
        data=row.facts,
    )
