"""Quiet hours: a span of the day that may pass midnight, read from `22:00-07:00`."""

from __future__ import annotations

from datetime import time

import pytest

from app.domain.policy import QuietHours
from app.errors import InvalidPolicy


@pytest.mark.parametrize(
    ("moment", "is_quiet"),
    [(time(22, 0), True), (time(3, 0), True), (time(7, 0), False), (time(21, 59), False)],
)
def test_quiet_hours_pass_midnight(moment: time, is_quiet: bool) -> None:
    assert QuietHours.parse("22:00-07:00").contains(moment) is is_quiet


@pytest.mark.parametrize(
    "text", ["22:00", "25:00-07:00", "a-b", "1-2-3", "22:00+02:00-07:00", "07:00-07:00", "T22-T07"]
)
def test_quiet_hours_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(InvalidPolicy):
        QuietHours.parse(text)
