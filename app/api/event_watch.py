"""One look at what happens for all streams: who listens is told what is new and concerns it.

That is what the log has, and how far the running cycles are, which only their rows have.

Streams that looked for themselves, twice a second each, took a whole core as four hundred. While
nobody listens nothing is looked at. Lives in the event loop alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from starlette.concurrency import run_in_threadpool

from app.db.engine import Database
from app.db.tables import EventRow
from app.domain.access import Access
from app.domain.events import EventType
from app.errors import SageSleepError
from app.log import get_logger
from app.services import event_log

POLL_SECONDS = 0.5
ROWS_PER_POLL = 500
MAX_WAITING_ROWS = 500
"""Of one listener; when it lags further behind, it reads them from the database."""

_log = get_logger(__name__)


class Listener:
    """What one stream is told; `is_behind` once it missed rows that concern it."""

    def __init__(self, access: Access, concerns: Callable[[EventRow], bool]) -> None:
        self.access = access
        self.is_behind = False
        self.is_refused = False
        self._concerns = concerns
        self._rows: list[EventRow] = []
        self._told = asyncio.Event()

    async def wait(self, timeout_seconds: float) -> list[EventRow]:
        """What is new, in order; empty after the time, or where `is_behind` or `is_refused`."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._told.wait()
        except TimeoutError:
            return []
        self._told.clear()
        rows, self._rows = self._rows, []
        return rows

    def tell(self, rows: Sequence[EventRow]) -> None:
        """Take what concerns this listener."""
        wanted = [row for row in rows if self._concerns(row)]
        if not wanted:
            return
        if self.is_behind or len(self._rows) + len(wanted) > MAX_WAITING_ROWS:
            self.is_behind, self._rows = True, []
        else:
            self._rows += wanted
        self._told.set()

    def refuse(self) -> None:
        """Its caller is let in no longer."""
        self.is_refused = True
        self._told.set()


class EventWatch:
    """Looks at the log for as long as there are listeners.

    Args:
        still_admits: Whether a caller who was let in once would be now.
    """

    def __init__(self, db: Database, still_admits: Callable[[Access], Awaitable[bool]]) -> None:
        self._db = db
        self._still_admits = still_admits
        self._listeners: set[Listener] = set()
        self._looking: asyncio.Task[None] | None = None
        self._position: asyncio.Future[int] | None = None
        self._progress: dict[str | None, dict[str, Any]] = {}

    @asynccontextmanager
    async def listen(
        self, access: Access, concerns: Callable[[EventRow], bool]
    ) -> AsyncIterator[Listener]:
        """Be told of every event that is written from now on; earlier ones are for the database.

        Between them, of running cycles' progress that no event tells of (`events.is_logged`).

        Raises: DatabaseUnavailable.
        """
        listener = Listener(access, concerns)
        self._listeners.add(listener)
        try:
            if self._position is None:
                self._position = asyncio.ensure_future(
                    run_in_threadpool(event_log.find_position, self._db)
                )
            # Nobody who listens later may think that this position is behind what it has read.
            position = await asyncio.shield(self._position)
            if self._looking is None:
                self._looking = asyncio.create_task(self._look(position))
            yield listener
        finally:
            self._listeners.discard(listener)
            if not self._listeners:
                self._rest()

    def _rest(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        self._looking = self._position = None
        self._progress = {}

    async def _look(self, position: int) -> None:
        try:
            while True:
                await asyncio.sleep(POLL_SECONDS)
                position = await self._tell_after(position)
        finally:
            if self._looking is asyncio.current_task():  # by a defect: streams end, and come back
                self._looking = self._position = None
                for listener in self._listeners:
                    listener.refuse()

    async def _tell_after(self, position: int) -> int:
        try:
            rows, running = await run_in_threadpool(
                event_log.look, self._db, position, ROWS_PER_POLL
            )
            await self._check_access()
        except SageSleepError as error:
            _log.debug("events.not_read", error=error.code)
            return position
        if told := [*rows, *self._news(rows, running)]:
            for listener in self._listeners:
                listener.tell(told)
        return rows[-1].seq if rows else position

    def _news(self, rows: Sequence[EventRow], running: Sequence[EventRow]) -> list[EventRow]:
        """Of the running cycles' progress, what neither the log tells nor was told before."""
        known = self._progress | {
            row.cycle_id: row.data for row in rows if row.type == EventType.CYCLE_PROGRESS
        }
        self._progress = {row.cycle_id: row.data for row in running}
        return [row for row in running if known.get(row.cycle_id) != row.data]

    async def _check_access(self) -> None:
        """Ask once for each token that somebody listens with."""
        admitted: dict[str | None, bool] = {}
        for listener in list(self._listeners):
            token_id = listener.access.token_id
            if token_id not in admitted:
                admitted[token_id] = await self._still_admits(listener.access)
            if not admitted[token_id]:
                listener.refuse()
