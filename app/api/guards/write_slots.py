"""A limit on changes that are under way, so that a blocked database does not take every thread.

Routes that change something wait for the database's one writer in a thread of the pool; were all
threads to wait there, nobody could even look at what is wrong.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from fastapi import Request

from app.errors import WritesOverloaded

MAX_WRITES = 24
"""Of the pool's 40 threads (AnyIO's default); the others are for reading."""


class WriteSlots:
    """Counts in the event loop, which needs no lock."""

    def __init__(self, limit: int = MAX_WRITES) -> None:
        self._limit = limit
        self._taken = 0

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold one slot. Raises: WritesOverloaded."""
        if self._taken >= self._limit:
            raise WritesOverloaded("Too many changes wait to be written; try again shortly.")
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1


async def take_write_slot(request: Request) -> AsyncIterator[None]:
    """For a route: hold a slot from when its body was read until it has answered."""
    with request.app.state.daemon.writes.slot():
        yield
