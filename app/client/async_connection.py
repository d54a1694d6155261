"""A connection to one daemon: requests until they are answered, and streams of events.

`sync_connection.py` is written from this file by `make client`. Must not know what is asked.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, TypeVar

import httpx

from .downloads import ExportDownload, Staging
from .errors import DaemonUnavailable, SleepClientError
from .request import (
    LONGEST_PAUSE_SECONDS,
    Request,
    Verify,
    asleep,
    awork,
    backoff_seconds,
    json_of,
    refusal,
    trusted_by,
    unreachable,
)
from .streams import EVENT_STREAM, PROGRESS_EVENT, Event, EventParser
from .wire import Page, Result, decode, decode_page

R = TypeVar("R", bound=Result)

EVENTS_POLL_SECONDS = 2.0
EVENTS_PER_PAGE = 500
SILENCE_SECONDS = 45.0
"""A stream that says nothing for so long is dead: the daemon sends a comment every 15 s."""

_NOTHING: Mapping[str, Any] = {}


class AsyncConnection:
    """What every operation stands on; the arguments are those of the clients."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None,
        timeout_seconds: float,
        retry_seconds: float,
        verify: Verify,
    ) -> None:
        self.url = url
        self.retry_seconds = retry_seconds
        self._http = httpx.AsyncClient(
            base_url=url,
            timeout=timeout_seconds,
            headers={"Authorization": f"Bearer {token}"} if token else None,
            verify=trusted_by(verify),
        )

    async def aclose(self) -> None:
        """Close it."""
        await self._http.aclose()

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be asked any more."""
        return self._http.is_closed

    async def get(self, kind: type[R], path: str, params: Mapping[str, Any] = _NOTHING) -> R:
        """Ask for one thing. Raises: SleepClientError."""
        return decode(kind, json_of(await self.send(Request("GET", path, params=params))))

    async def get_page(
        self, kind: type[R], path: str, params: Mapping[str, Any] = _NOTHING
    ) -> Page[R]:
        """Ask for one page of a list. Raises: SleepClientError."""
        return decode_page(kind, json_of(await self.send(Request("GET", path, params=params))))

    async def ask(
        self,
        kind: type[R],
        method: str,
        path: str,
        *,
        body: Any = None,
        headers: Mapping[str, str] = _NOTHING,
        is_repeatable: bool = True,
    ) -> R:
        """Ask for something to be done, and read what came of it. Raises: SleepClientError."""
        request = Request(method, path, body=body, headers=headers, is_repeatable=is_repeatable)
        return decode(kind, json_of(await self.send(request)))

    async def send(self, request: Request, *, retry_seconds: float | None = None) -> httpx.Response:
        """Send a request until it is answered or time is over.

        Args:
            retry_seconds: How long to try again; None for the client's own.

        Raises: DaemonUnavailable, RequestRefused.
        """
        retry_seconds = self.retry_seconds if retry_seconds is None else retry_seconds
        gives_up_at = time.monotonic() + retry_seconds
        attempt = 0
        while True:
            failure: SleepClientError
            cause: httpx.TransportError | None = None
            try:
                response = await self._http.send(request.build(self._http))
            except httpx.TransportError as error:
                cause, failure = error, unreachable(self.url, error)
                pause = request.pause_after_loss(error, attempt)
            else:
                if not response.is_error:
                    return response
                failure = refusal(response)
                pause = request.pause_after_answer(response, attempt)
            if pause is None or time.monotonic() + pause > gives_up_at:
                raise failure from cause
            await asleep(pause)
            attempt += 1

    async def send_once(self, request: Request) -> httpx.Response:
        """Send a request and return its answer, be it an error. Raises: httpx.TransportError."""
        return await self._http.send(request.build(self._http))

    async def open(self, request: Request) -> httpx.Response:
        """Open an answer that comes in pieces, without trying again; whoever asked closes it.

        Raises: DaemonUnavailable, RequestRefused.
        """
        try:
            response = await self._http.send(request.build(self._http), stream=True)
            if not response.is_error:
                return response
            await response.aread()
        except httpx.TransportError as error:
            raise unreachable(self.url, error) from error
        raise refusal(response)

    async def fetch(self, staging: Staging | ExportDownload) -> None:
        """Stream an archive or an export; a connection that breaks is taken up where it broke.

        Raises: DaemonUnavailable, RequestRefused, DownloadCorrupt, OSError.
        """
        attempt, gives_up_at = 0, time.monotonic() + self.retry_seconds
        while not staging.is_whole:
            came_before = staging.size_bytes
            try:
                await self._fetch_on(staging)
            except (httpx.TransportError, DaemonUnavailable) as error:
                if staging.size_bytes > came_before:
                    attempt, gives_up_at = 0, time.monotonic() + self.retry_seconds
                pause = backoff_seconds(attempt)
                if time.monotonic() + pause > gives_up_at:
                    raise DaemonUnavailable(
                        f"The download of {staging.what} from {self.url} broke off: {error}"
                    ) from error
                await asleep(pause)
                attempt += 1

    async def _fetch_on(self, staging: Staging | ExportDownload) -> None:
        """Stream what is still to come."""
        response = await self.open(staging.request())
        try:
            staging.begin(response)
            async for chunk in response.aiter_bytes():
                await awork(staging.write, chunk)
        finally:
            await response.aclose()
        staging.end()


class AsyncEvents:
    """A stream of events that is opened again and again, or the lists that are had in its place.

    A stream cannot be had where a proxy answers JSON, or keeps the pieces back. Each opening is a
    block; a daemon that is away makes it an empty one.

    Attributes:
        is_whole: What was opened came to its end, in place of breaking off.
        is_live: It was a stream.
    """

    def __init__(
        self,
        daemon: AsyncConnection,
        path: str,
        params: Mapping[str, Any] = _NOTHING,
        *,
        after: int | None = None,
        poll_seconds: float = EVENTS_POLL_SECONDS,
    ) -> None:
        """Open nothing yet.

        Args:
            after: Begin behind this event; None to begin with what comes from now on.
            poll_seconds: How often a list is asked for.
        """
        self.is_whole = False
        self.is_live = True
        self._daemon = daemon
        self._path = path
        self._params = params
        self._last = after
        self._poll_seconds = poll_seconds
        self._openings = 0
        self._parser = EventParser()
        self._response: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes] | None = None

    async def __aenter__(self) -> None:
        self._openings += 1
        self.is_whole, self.is_live = False, True
        headers = {"Accept": f"{EVENT_STREAM}, application/json;q=0.5"}
        if self._last is not None:
            headers["Last-Event-ID"] = str(self._last)
        request = Request(
            "GET",
            self._path,
            params={**self._params, "after": self._last, "limit": EVENTS_PER_PAGE},
            headers=headers,
            read_timeout_seconds=SILENCE_SECONDS,
        )
        with contextlib.suppress(DaemonUnavailable):
            self._response = await self._daemon.open(request)
            self._chunks = self._response.aiter_bytes()
            self._parser = EventParser()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._response is not None:
            await self._response.aclose()
        self._response = self._chunks = None

    async def take(self) -> list[Event] | None:
        """Wait for the next bytes: the events they complete, often none; None at an end or break.

        Raises: RequestRefused, AnswerNotUnderstood.
        """
        if self._response is None or self._chunks is None:
            return None
        content_type = self._response.headers.get("content-type", "")
        try:
            if not content_type.startswith(EVENT_STREAM):
                return await self._take_list(self._response)
            chunk = await anext(self._chunks, None)
        except (httpx.TransportError, DaemonUnavailable):
            return None
        if chunk is None:
            self.is_whole = True
            return None
        found = [decode(Event, json.loads(item.data)) for item in self._parser.feed(chunk)]
        new = [event for event in found if self._is_new(event)]
        if self._last is None and self._parser.last_id.isdecimal():
            self._last = int(self._parser.last_id)
        return new

    @property
    def pause_seconds(self) -> float:
        """How long to wait before the next opening."""
        if self.is_whole and not self.is_live:
            return self._poll_seconds
        longest = min(self._poll_seconds, LONGEST_PAUSE_SECONDS)
        return backoff_seconds(self._openings - 1, longest=longest)

    async def _take_list(self, response: httpx.Response) -> list[Event]:
        await response.aread()
        self.is_live, self._chunks = False, None
        if self._last is None:
            self._last = await self._find_last()
            self.is_whole = True
            return []
        page = decode_page(Event, json_of(response))
        self.is_whole = not page.has_more
        return [event for event in page.data if self._is_new(event)]

    async def _find_last(self) -> int:
        """Number of the newest event, where only lists can be had."""
        last = 0
        while True:
            query = {**self._params, "after": last, "limit": EVENTS_PER_PAGE}
            page = await self._daemon.get_page(Event, self._path, query)
            if page.data:
                last = page.data[-1].id
            if not page.has_more:
                return last

    def _is_new(self, event: Event) -> bool:
        """Whether an event is no repetition; it is the last one then.

        Progress that the log does not keep has the number of the event before it.
        """
        is_live = self.is_live and event.type == PROGRESS_EVENT
        if self._last is not None and event.id <= self._last - is_live:
            return False
        self._last, self._openings = event.id, 0
        return True
