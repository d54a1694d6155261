"""Looking for damage of the database while it is used: a table at a time, for a small part of time.

Damage on a page that nobody reads is not seen, and what is written meanwhile may be lost with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from app.db import health
from app.db.engine import Database

SHARE = 0.01
"""Of the time at most that is spent looking."""


class DamageWatch:
    """Looks at each table in turn; one that took long lets the next wait."""

    def __init__(self, db: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._clock = clock
        self._tables: list[str] = []
        self._rests_until = clock()

    def look(self) -> None:
        """Look at the next table, unless it is too soon. Raises: DatabaseUnavailable."""
        started = self._clock()
        if started < self._rests_until or self._db.damage_mark.is_set:
            return
        with self._db.read() as session:
            self._tables = self._tables or health.list_tables(session)
            is_whole = health.is_table_whole(session, self._tables.pop())
        if not is_whole:
            self._db.note_damage()
        ended = self._clock()
        self._rests_until = ended + (ended - started) / SHARE
