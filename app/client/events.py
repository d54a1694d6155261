"""Events of a cycle or an instance: as a page, or as they come, resumed where a stream broke.

A stream that cannot be had (a proxy answers JSON, or keeps the pieces back) is replaced by asking
again and again.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import httpx

from app.client.decoding import Page, decode, page_reader, reader
from app.client.errors import DaemonUnavailable
from app.client.flows import (
    Close,
    Effect,
    Emit,
    Emitting,
    Flow,
    Opened,
    Pause,
    ReadAll,
    ReadOn,
    Request,
    segment,
)
from app.client.results import Event, SleepCycle
from app.client.sending import backoff_seconds, call, json_of, open_stream
from app.client.sse import EVENT_STREAM, EventParser

SILENCE_SECONDS = 45.0
"""A stream that says nothing for so long is dead: the daemon sends a comment every 15 s."""

POLL_SECONDS = 2.0
EVENTS_PER_PAGE = 500

_Reading: TypeAlias = Generator[Effect | Emit[Event], Any, "_Read"]


@dataclass(slots=True)
class LiveEvents:
    """An open stream of events."""

    opened: Opened
    parser: EventParser = field(default_factory=EventParser)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Read:
    """How far a stream came: the last event's number, and whether it ended rather than broke."""

    last: int | None
    is_whole: bool
    is_live: bool


def list_sleep_cycle_events(
    cycle_id: str, *, after: int = 0, limit: int | None = None
) -> Flow[Page[Event]]:
    """Return one page of a cycle's events, oldest first; `next` goes into `after`."""
    path, params = f"/v1/sleep-cycles/{segment(cycle_id)}/events", {"after": after, "limit": limit}
    return call(Request(method="GET", path=path, params=params), page_reader(Event))


def list_instance_events(
    instance: str = "default",
    *,
    subject: str | None = None,
    progress: bool = True,
    newest_first: bool = False,
    after: int | None = None,
    limit: int | None = None,
) -> Flow[Page[Event]]:
    """Return one page of an instance's events; `next` goes into `after`.

    Args:
        subject: Only events about this, such as `checkpoint`.
        progress: Whether running cycles' progress, once a second, is among them.
        newest_first: Begin with the last event instead of the first.
    """
    params = {
        "subject": subject,
        "progress": None if progress else "false",
        "order": "newest" if newest_first else None,
        "after": after,
        "limit": limit,
    }
    path = f"/v1/instances/{segment(instance)}/events"
    return call(Request(method="GET", path=path, params=params), page_reader(Event))


def follow_sleep_cycle_events(cycle_id: str, *, after: int = 0) -> Emitting[Event]:
    """Yield a cycle's events as they come, each once, until its end.

    Raises: DaemonUnavailable when the daemon stays away longer than the time for retries.
    """
    attempt = 0
    while True:
        # Known before the stream is opened: one that ends after that holds all there is.
        state = Request(method="GET", path=f"/v1/sleep-cycles/{segment(cycle_id)}")
        cycle = yield from call(state, reader(SleepCycle))
        read = yield from _read(f"/v1/sleep-cycles/{segment(cycle_id)}/events", {}, after)
        attempt = 0 if read.last != after else attempt + 1
        after = read.last or 0
        if read.is_whole and cycle.is_ended:
            return
        if not (read.is_whole and read.is_live):
            yield Pause(POLL_SECONDS if read.is_whole else backoff_seconds(attempt))


def watch_instance_events(
    instance: str = "default", *, subject: str | None = None, after: int | None = None
) -> Emitting[Event]:
    """Yield an instance's events as they come, without end, through restarts of the daemon.

    Args:
        subject: Only events about this, such as `checkpoint`.
        after: Begin behind this event; None to begin with what comes from now on.

    Raises: RequestRefused.
    """
    path = f"/v1/instances/{segment(instance)}/events"
    attempt = 0
    while True:
        read = yield from _read(path, {"subject": subject}, after)
        attempt = 0 if read.last != after else attempt + 1
        after = read.last
        yield Pause(backoff_seconds(attempt) if read.is_live else POLL_SECONDS)


def open_events(
    path: str, params: Mapping[str, Any], *, after: int | None
) -> Flow[LiveEvents | Opened]:
    """Open a stream, or get the list that was sent instead.

    Args:
        after: Begin behind this event; None to begin with what comes from now on.

    Raises: DaemonUnavailable, RequestRefused.
    """
    headers = {"Accept": f"{EVENT_STREAM}, application/json;q=0.5"}
    if after is not None:
        headers["Last-Event-ID"] = str(after)
    request = Request(
        method="GET",
        path=path,
        params={**params, "after": after, "limit": EVENTS_PER_PAGE},
        headers=headers,
        read_timeout_seconds=SILENCE_SECONDS,
    )
    opened = yield from open_stream(request)
    is_stream = opened.response.headers.get("content-type", "").startswith(EVENT_STREAM)
    return LiveEvents(opened) if is_stream else opened


def next_events(live: LiveEvents) -> Flow[list[Event] | None]:
    """Wait for the next bytes of a stream: the events they complete, often none; None at its end.

    Raises: httpx.TransportError when it broke.
    """
    chunk: bytes | None = yield ReadOn(live.opened)
    if chunk is None:
        return None
    return [decode(Event, json.loads(found.data)) for found in live.parser.feed(chunk)]


def _read(path: str, params: Mapping[str, Any], after: int | None) -> _Reading:
    """Emit what a stream, or the list in its place, brings."""
    last = after
    try:
        source = yield from open_events(path, params, after=after)
        if not isinstance(source, LiveEvents):
            yield ReadAll(source)
            if after is None:
                last = yield from _find_last(path, params)
                return _Read(last=last, is_whole=True, is_live=False)
            page = page_reader(Event)(json_of(source.response))
            for event in page.data:
                last = event.id
                yield Emit(event)
            return _Read(last=last, is_whole=not page.has_more, is_live=False)
        while (events := (yield from next_events(source))) is not None:
            for event in events:
                if last is None or event.id > last:
                    last = event.id
                    yield Emit(event)
            if last is None and source.parser.last_id.isdecimal():
                last = int(source.parser.last_id)
        yield Close(source.opened)
    except (httpx.TransportError, DaemonUnavailable):
        return _Read(last=last, is_whole=False, is_live=True)
    return _Read(last=last, is_whole=True, is_live=True)


def _find_last(path: str, params: Mapping[str, Any]) -> Flow[int]:
    """Number of the newest event, where only pages can be had."""
    last = 0
    while True:
        query = {**params, "after": last, "limit": EVENTS_PER_PAGE}
        page = yield from call(Request(method="GET", path=path, params=query), page_reader(Event))
        if page.data:
            last = page.data[-1].id
        if not page.has_more:
            return last
