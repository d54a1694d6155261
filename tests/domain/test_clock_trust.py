"""A clock that jumped, or leads, makes nothing old until it ran on or a person believed it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.clock_trust import (
    MAX_LEAD,
    SETTLING,
    ClockRecord,
    confirm_clock,
    find_doubt,
    look_at_clock,
)

NOW = datetime(2026, 1, 18, 12, tzinfo=UTC)
DAY = timedelta(days=1)
FAR = 400 * DAY


def test_clock_that_runs_on_is_believed() -> None:
    record = None
    for day in range(30):
        now = NOW + day * DAY
        record = look_at_clock(record, newest_at=now, now=now)
        assert find_doubt(record, newest_at=now, now=now) is None


def test_nothing_received_leaves_nothing_to_doubt() -> None:
    assert find_doubt(None, newest_at=None, now=NOW) is None


def test_clock_far_after_the_newest_exchange_is_doubted_with_no_earlier_look() -> None:
    assert find_doubt(None, newest_at=NOW, now=NOW + MAX_LEAD) is None
    assert "400 d after" in str(find_doubt(None, newest_at=NOW, now=NOW + FAR))


def test_clock_before_the_newest_exchange_is_doubted() -> None:
    assert find_doubt(None, newest_at=NOW, now=NOW - timedelta(minutes=59)) is None
    assert "1 d before" in str(find_doubt(None, newest_at=NOW, now=NOW - DAY))


@given(st.floats(2, 24 * 6.9), st.sampled_from([1, -1]))
def test_jump_that_was_seen_is_doubted_for_the_settling(hours: float, sign: int) -> None:
    record = look_at_clock(None, newest_at=NOW, now=NOW)
    after = NOW + sign * timedelta(hours=hours)
    record = look_at_clock(record, newest_at=after, now=after, has_jumped=True)
    early = after + SETTLING - timedelta(minutes=1)
    assert "jumped" in str(find_doubt(record, newest_at=early, now=early))
    settled = look_at_clock(record, newest_at=early, now=early)
    later = after + SETTLING
    assert find_doubt(settled, newest_at=later, now=later) is None


@pytest.mark.parametrize("jump", [FAR, -FAR])
def test_exchanges_received_by_the_new_clock_do_not_vouch_for_it(jump: timedelta) -> None:
    record = look_at_clock(None, newest_at=NOW, now=NOW)
    after = NOW + jump
    assert find_doubt(record, newest_at=after, now=after) is not None
    record = look_at_clock(record, newest_at=after, now=after)
    assert find_doubt(record, newest_at=after + DAY, now=after + DAY) is not None


def test_person_is_believed_until_the_next_jump() -> None:
    record = ClockRecord(seen_at=NOW, steady_since=NOW)
    record = confirm_clock(record, now=NOW + FAR)
    assert find_doubt(record, newest_at=NOW, now=NOW + FAR) is None
    record = look_at_clock(record, newest_at=NOW, now=NOW + FAR + DAY)
    assert find_doubt(record, newest_at=NOW, now=NOW + FAR + 20 * DAY) is not None
    for day in range(2, 20):
        record = look_at_clock(record, newest_at=NOW, now=NOW + FAR + day * DAY)
    assert find_doubt(record, newest_at=NOW, now=NOW + FAR + 20 * DAY) is None
    assert find_doubt(record, newest_at=NOW, now=NOW + 2 * FAR) is not None
