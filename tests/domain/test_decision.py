"""The trigger: a pure function of state and policy, with every reason in words."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.decision import SleepState, decide, in_words
from app.domain.policy import QuietHours, SleepPolicy

NOW = datetime(2026, 1, 18, 12, 0, tzinfo=UTC)
DUE = SleepState(
    now=NOW,
    local_time=time(12, 0),
    mass=20.0,
    count=30,
    last_cycle_ended_at=NOW - timedelta(hours=6),
    last_exchange_at=NOW - timedelta(seconds=60),
    has_active_cycle=False,
)
POLICY = SleepPolicy()


def test_due_when_every_rule_is_met_to_the_point() -> None:
    assert decide(DUE, POLICY).is_due


@pytest.mark.parametrize(
    ("change", "rule", "text"),
    [
        ({"mass": 14.2}, "mass", "mass 14.2 of 20.0"),
        ({"count": 9}, "experiences", "9 experiences, minimum 10"),
        ({"has_active_cycle": True}, "no_active_cycle", "a cycle is queued or running"),
        (
            {"last_cycle_ended_at": NOW - timedelta(hours=2, minutes=10)},
            "interval",
            "last cycle 2 h 10 min ago, minimum 6 h",
        ),
        (
            {"last_exchange_at": NOW - timedelta(seconds=20)},
            "idle",
            "session active 20 s ago, idle after 1 min",
        ),
    ],
)
def test_one_unmet_rule_holds_sleep_off_and_says_why(
    change: dict[str, object], rule: str, text: str
) -> None:
    decision = decide(replace(DUE, **change), POLICY)  # type: ignore[arg-type]  # by parameter
    assert not decision.is_due
    assert [(r.rule, r.text) for r in decision.reasons if not r.is_met] == [(rule, text)]


@pytest.mark.parametrize(("moment", "is_due"), [(time(22, 0), False), (time(7, 0), True)])
def test_quiet_hours_hold_sleep_off(moment: time, is_due: bool) -> None:
    policy = replace(POLICY, quiet_hours=QuietHours.parse("22:00-07:00"))
    assert decide(replace(DUE, local_time=moment), policy).is_due is is_due


def test_young_instance_without_history_may_sleep() -> None:
    assert decide(replace(DUE, last_cycle_ended_at=None, last_exchange_at=None), POLICY).is_due


def test_clock_that_jumped_back_does_not_hold_sleep_off() -> None:
    later = NOW + timedelta(hours=5)
    assert decide(replace(DUE, last_cycle_ended_at=later, last_exchange_at=later), POLICY).is_due


@given(st.floats(0, 100), st.integers(0, 100))
def test_more_mass_never_undoes_a_decision(mass: float, count: int) -> None:
    state = replace(DUE, mass=mass, count=count)
    if decide(state, POLICY).is_due:
        assert decide(replace(state, mass=mass + 1, count=count + 1), POLICY).is_due


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (20, "20 s"), (7800, "2 h 10 min"), (100_000, "1 d 3 h"), (-5, "0 s")],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
