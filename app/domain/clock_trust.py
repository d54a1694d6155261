"""Whether the wall clock may be believed when it says that something is old enough to go.

A clock that jumps ahead makes everything old at once: a machine learned a wrong time from the
network, or a battery ran out. What is erased then is gone. So old things go only by a clock that
was seen to run on: one that stands far after the newest thing received, or that jumped, is believed
again after `SETTLING`, or when a person says that it is right.

Must not know where any of it is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from app.domain.decision import in_words

MAX_LEAD = timedelta(days=7)
"""Between the newest exchange and now, or between two looks at the clock. Below it, what goes goes
a week too early at most. A guess: a house may be left alone for a week."""

MAX_JUMP = timedelta(hours=1)
"""Above what summer time kept by mistake, or a clock set by hand, makes of a clock. A guess."""

SETTLING = timedelta(days=7)
"""How long a clock must run on after a jump, so that a person has time to see it. A guess."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClockRecord:
    """What was seen of the clock.

    Attributes:
        seen_at: At the last look.
        steady_since: Since when it runs on, after a jump; None if it was never seen to jump.
        confirmed_at: When a person last said that it is right.
    """

    seen_at: datetime
    steady_since: datetime | None = None
    confirmed_at: datetime | None = None


def look_at_clock(
    record: ClockRecord | None,
    *,
    newest_at: datetime | None,
    now: datetime,
    has_jumped: bool = False,
) -> ClockRecord:
    """What is known of the clock after one more look.

    Args:
        newest_at: When the newest exchange was received; stands in for a first look.
        has_jumped: Somebody saw it jump since the last look.
    """
    before = record or ClockRecord(seen_at=newest_at or now)
    if has_jumped or not -MAX_JUMP <= now - before.seen_at <= MAX_LEAD:
        return replace(before, seen_at=now, steady_since=now)
    return replace(before, seen_at=now)


def confirm_clock(record: ClockRecord | None, *, now: datetime) -> ClockRecord:
    """What is known after a person said that the clock is right."""
    return replace(record or ClockRecord(seen_at=now), seen_at=now, confirmed_at=now)


def find_doubt(
    record: ClockRecord | None, *, newest_at: datetime | None, now: datetime
) -> str | None:
    """Why nothing is old enough to go by this clock, in words; None where it is believed."""
    if newest_at is None:
        return None
    looked = look_at_clock(record, newest_at=newest_at, now=now)
    confirmed_at = looked.confirmed_at
    if confirmed_at is not None and -MAX_JUMP <= now - confirmed_at <= MAX_LEAD:
        return None
    if newest_at - now > MAX_JUMP:
        early = in_words((newest_at - now).total_seconds())
        return f"the clock stands {early} before the newest exchange that was received"
    if now - newest_at > MAX_LEAD and (confirmed_at is None or confirmed_at < newest_at):
        lead = in_words((now - newest_at).total_seconds())
        return (
            f"the clock stands {lead} after the newest exchange that was received, "
            f"at most {in_words(MAX_LEAD.total_seconds())} is believed"
        )
    since = looked.steady_since
    if since is not None and now - since < SETTLING and not _is_after(confirmed_at, since):
        left = in_words((SETTLING - max(now - since, timedelta())).total_seconds())
        return f"the clock jumped; if it runs on as it does, it is believed in {left}"
    return None


def _is_after(instant: datetime | None, other: datetime) -> bool:
    return instant is not None and instant >= other
