"""The trigger: a pure function of state and policy, with every reason in words."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.decision import SleepState, decide, in_words, threshold_of
from app.domain.policy import Promotion, QuietHours, SleepPolicy

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
    assert decide(replace(DUE, count=10), POLICY).is_due


def test_due_when_every_rule_is_more_than_met() -> None:
    more = replace(
        DUE,
        mass=21.0,
        last_cycle_ended_at=NOW - timedelta(hours=7),
        last_exchange_at=NOW - timedelta(seconds=61),
    )
    assert decide(more, POLICY).is_due


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
    decision = decide(replace(DUE, local_time=moment), policy)
    assert decision.is_due is is_due
    where = "outside" if is_due else "within"
    assert decision.reasons[-1].text == f"{moment:%H:%M} UTC is {where} quiet hours 22:00-07:00"


def test_young_instance_without_history_may_sleep() -> None:
    assert decide(replace(DUE, last_cycle_ended_at=None, last_exchange_at=None), POLICY).is_due


@pytest.mark.parametrize(
    ("event", "rule"), [("last_cycle_ended_at", "interval"), ("last_exchange_at", "idle")]
)
@pytest.mark.parametrize(("seconds", "is_due"), [(18_000, True), (0.5, True), (0, False)])
def test_only_a_clock_that_jumped_back_before_an_event_lets_it_hold_nothing_off(
    event: str, rule: str, seconds: float, is_due: bool
) -> None:
    after_now: dict[str, Any] = {event: NOW + timedelta(seconds=seconds)}
    reasons = decide(replace(DUE, **after_now), POLICY).reasons
    assert [reason.rule for reason in reasons if not reason.is_met] == [rule] * (not is_due)


@pytest.mark.parametrize(
    ("has_candidate", "text"),
    [(True, "a candidate waits to be promoted or dismissed"), (False, "no candidate")],
)
def test_a_candidate_that_waits_for_a_person_holds_sleep_off(
    has_candidate: bool, text: str
) -> None:
    manual = replace(POLICY, promotion=Promotion.MANUAL)
    decision = decide(replace(DUE, has_candidate=has_candidate), manual)
    assert decision.is_due is not has_candidate
    assert (decision.reasons[-1].rule, decision.reasons[-1].text) == ("candidate", text)


def test_no_candidate_waits_unless_somebody_says_so() -> None:
    assert decide(DUE, replace(POLICY, promotion=Promotion.MANUAL)).is_due


def test_where_promotion_is_automatic_a_candidate_is_no_matter() -> None:
    decision = decide(replace(DUE, has_candidate=True), POLICY)
    assert decision.is_due
    assert "candidate" not in [reason.rule for reason in decision.reasons]


@given(st.floats(0, 100), st.integers(0, 100))
def test_more_mass_never_undoes_a_decision(mass: float, count: int) -> None:
    state = replace(DUE, mass=mass, count=count)
    if decide(state, POLICY).is_due:
        assert decide(replace(state, mass=mass + 1, count=count + 1), POLICY).is_due


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (0.6, "1 s"),
        (20, "20 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3599, "59 min 59 s"),
        (3600, "1 h"),
        (7800, "2 h 10 min"),
        (86_399, "23 h 59 min"),
        (86_400, "1 d"),
        (90_061, "1 d 1 h"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def failed(failures: int, *, ago: timedelta) -> SleepState:
    return replace(DUE, failures=failures, last_failed_at=NOW - ago)


@pytest.mark.parametrize(
    ("failures", "wait"),
    [
        (1, timedelta(minutes=10)),
        (2, timedelta(minutes=20)),
        (3, timedelta(minutes=40)),
        (8, timedelta(hours=21, minutes=20)),
        (9, timedelta(hours=24)),
        (10_000, timedelta(hours=24)),
    ],
)
def test_each_failure_in_a_row_waits_twice_as_long_up_to_a_day(
    failures: int, wait: timedelta
) -> None:
    assert decide(failed(failures, ago=wait), POLICY).is_due
    assert decide(failed(failures, ago=wait + timedelta(seconds=1)), POLICY).is_due
    assert not decide(failed(failures, ago=wait - timedelta(seconds=1)), POLICY).is_due


def test_pause_doubles_forty_times_at_most() -> None:
    policy = replace(POLICY, failure_backoff_seconds=2.0**-40)
    assert decide(failed(10_000, ago=timedelta(seconds=1)), policy).is_due
    assert not decide(failed(10_000, ago=timedelta(seconds=0.9)), policy).is_due


def test_failures_are_said_with_their_numbers() -> None:
    def said(failures: int) -> list[str]:
        decision = decide(failed(failures, ago=timedelta(minutes=3)), POLICY)
        return [reason.text for reason in decision.reasons if reason.rule == "failures"]

    assert said(0) == []
    assert said(1) == ["1 failed cycle, the last 3 min ago; again after 10 min"]
    assert said(2) == ["2 failed cycles in a row, the last 3 min ago; again after 20 min"]


def test_cancelled_cycle_starts_no_other_by_itself_for_a_while() -> None:
    def cancelled(ago: timedelta) -> SleepState:
        return replace(DUE, cancelled_at=NOW - ago)

    assert decide(cancelled(timedelta(hours=1)), POLICY).is_due
    assert decide(cancelled(timedelta(hours=1, seconds=1)), POLICY).is_due
    decision = decide(cancelled(timedelta(minutes=59)), POLICY)
    assert not decision.is_due
    assert [reason.text for reason in decision.reasons if not reason.is_met] == [
        "the last cycle was cancelled 59 min ago; by itself again after 1 h"
    ]


@pytest.mark.parametrize(
    ("seconds", "is_due"), [(3 * 86_400, True), (0.5, True), (0, False), (-0.5, False)]
)
def test_clock_that_went_back_holds_no_failure_and_no_cancel_for_longer(
    seconds: float, is_due: bool
) -> None:
    ahead = NOW + timedelta(seconds=seconds)
    assert decide(replace(DUE, failures=1, last_failed_at=ahead), POLICY).is_due is is_due
    assert decide(replace(DUE, cancelled_at=ahead), POLICY).is_due is is_due


def test_failures_that_nobody_counted_hold_nothing_off() -> None:
    assert decide(replace(DUE, last_failed_at=NOW), POLICY).is_due


@pytest.mark.parametrize("field", ["faults", "base_fault"])
def test_settings_and_a_base_that_cannot_be_used_hold_sleep_off(field: str) -> None:
    said: Any = ("quiet_hours is 22",) if field == "faults" else "nobody named a base model"
    decision = decide(replace(DUE, **{field: said}), POLICY)
    assert not decision.is_due
    (reason,) = [reason for reason in decision.reasons if not reason.is_met]
    assert reason.text == (said[0] if field == "faults" else said)


def test_threshold_adapts_to_the_wait_and_to_rejections_where_the_policy_says_so() -> None:
    week_ago = NOW - timedelta(days=7)
    adapting = replace(POLICY, adaptive_threshold=True)
    waiting = replace(DUE, waits_since=week_ago)
    assert threshold_of(DUE, adapting).mass == 20.0
    assert threshold_of(waiting, adapting).mass == 10.0
    assert threshold_of(replace(waiting, rejections=1), adapting).mass == 15.0
    assert threshold_of(replace(waiting, rejections=1), POLICY).mass == 20.0
    assert decide(replace(waiting, mass=10.0), adapting).is_due
    assert not decide(replace(waiting, mass=9.9), adapting).is_due
