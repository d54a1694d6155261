"""Instants as files write them: ISO 8601 with or without a zone, and seconds since 1970."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from typing import Any

_UNITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))
"""From what number on it counts nanoseconds, microseconds or milliseconds: seconds of no year
before 5138 are so many."""

_COMPACT = "%Y%m%d-%H%M%S"
"""What the older scripts put into file names, and into some files."""


class Clock:
    """Reads instants, and counts those that say no zone.

    Attributes:
        naive: How many of the instants that were read said no zone.
    """

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self.naive = 0

    def read(self, written: Any) -> datetime | None:
        """An instant as it was written; None where there is none. Raises: ValueError."""
        if written is None or written == "":
            return None
        if isinstance(written, bool) or not isinstance(written, str | int | float):
            raise ValueError("the time is neither text nor a number")  # noqa: TRY004  # one kind
        if isinstance(written, str):
            if (number := _as_number(written)) is None:
                return self._read_text(written)
            written = number
        return _from_epoch(written)

    def _read_text(self, written: str) -> datetime:
        text = written.strip()
        text = text.removesuffix(" UTC").removesuffix(" GMT") + "Z" if _ends_in_utc(text) else text
        instant = _first_of(written, lambda: datetime.fromisoformat(text), lambda: _compact(text))
        if instant.tzinfo is None:
            self.naive += 1
            return instant.replace(tzinfo=self._zone)
        return instant


def _ends_in_utc(text: str) -> bool:
    return text.endswith((" UTC", " GMT"))


def _first_of(written: str, *readers: Callable[[], datetime]) -> datetime:
    for reader in readers:
        try:
            return reader()
        except ValueError:
            continue
    shown = written if len(written) <= 40 else written[:40] + "…"
    raise ValueError(f"{shown!r} is no time; write ISO 8601: 2026-01-18T00:10:43Z")


def _compact(text: str) -> datetime:
    return datetime.strptime(text, _COMPACT)  # noqa: DTZ007  # the caller gives it a zone


def _as_number(text: str) -> float | None:
    """Seconds since 1970 as text; a year or a date of eight digits is none."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if number >= 1e9 else None


def _from_epoch(number: float) -> datetime:
    scale = next((unit for limit, unit in _UNITS if number >= limit), 1.0)
    try:
        return datetime.fromtimestamp(number / scale, tz=UTC)
    except (OverflowError, OSError, ValueError) as error:
        raise ValueError(f"{number!r} is no time in seconds since 1970") from error
