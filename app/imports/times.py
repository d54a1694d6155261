"""Instants as files write them: ISO 8601 with or without a zone, seconds since 1970, mail's."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from email.utils import parsedate_to_datetime
from typing import Any

_UNITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))
"""From what number on it counts nanoseconds, microseconds or milliseconds: seconds of no year
before 5138 are so many."""

_COMPACT = "%Y%m%d-%H%M%S"
"""What the older scripts put into file names, and into some files."""

_DIGITS = re.compile(r"\d{14}")
"""Date and time in digits alone; as milliseconds they would be of the year 2286 or later."""

_DATE_NUMBERS = (range(1970_01_01, 2100_01_01), range(1970_01_01_00_00_00, 2100_01_01_00_00_00))
"""Numbers that are a date, or a date and time: as seconds or milliseconds since 1970 they would be
of August 1970, or of the year 2594 or later."""

_SLASHES = re.compile(r"(\d{4})/(\d\d)/(\d\d)(?=\D|$)")
"""The year first, so that nobody has to guess which is the month."""

_MAIL = re.compile(
    r"(?:[A-Za-z]{3},? +)?\d{1,2}[ -][A-Za-z]{3}[ -]\d{4} +\d{1,2}:\d\d(?::\d\d)?"
    r"(?: +(?:[+-]\d{4}|UTC?|GMT|[ECMP][SD]T))?(?: +\([^()]*\))?"
)
_ASCTIME = re.compile(r"[A-Za-z]{3} [A-Za-z]{3} +\d{1,2} \d\d:\d\d:\d\d \d{4}")
"""How mail and HTTP write an instant (RFC 5322, RFC 9110), and C's `asctime`."""


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
        if isinstance(written, int) and any(written in dates for dates in _DATE_NUMBERS):
            written = str(written)
        if isinstance(written, str):
            if (number := _as_number(written)) is None:
                return self._read_text(written)
            written = number
        return _from_epoch(written)

    def _read_text(self, written: str) -> datetime:
        text = written.strip()
        text = text.removesuffix(" UTC").removesuffix(" GMT") + "Z" if _ends_in_utc(text) else text
        instant = _first_of(
            written,
            lambda: datetime.fromisoformat(_SLASHES.sub(r"\1-\2-\3", text, count=1)),
            lambda: _compact(text),
            lambda: _mail(written.strip()),
        )
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
    text = f"{text[:8]}-{text[8:]}" if _DIGITS.fullmatch(text) else text
    return datetime.strptime(text, _COMPACT)  # noqa: DTZ007  # the caller gives it a zone


def _mail(text: str) -> datetime:
    if not (_MAIL.fullmatch(text) or _ASCTIME.fullmatch(text)):  # what else it takes, it guesses
        raise ValueError(text)
    # `-0000` is UTC by a clock whose own zone is not said (RFC 5322); Python gives it no zone.
    return parsedate_to_datetime(text.replace(" -0000", " +0000"))


def _as_number(text: str) -> float | None:
    """Seconds since 1970 as text; a year, a date of eight digits or of fourteen is none."""
    if _DIGITS.fullmatch(text.strip()):
        return None
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
