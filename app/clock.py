"""The only place that reads the wall clock or makes an id from it."""

from __future__ import annotations

from datetime import UTC, datetime

from ulid import ULID


def utc_now() -> datetime:
    """Return the current instant, aware, in UTC."""
    return datetime.now(UTC)


def new_id() -> str:
    """Return a new ULID: 26 characters, sortable by the millisecond of its making."""
    return str(ULID())
