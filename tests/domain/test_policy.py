"""Quiet hours: a span of the day that may pass midnight; and what a policy is by default."""

from __future__ import annotations

from dataclasses import replace
from datetime import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.domain.categories import DEFAULT_CATEGORIES
from app.domain.policy import Promotion, QuietHours, SleepPolicy, check_reach, lay_over_policy
from app.domain.reply_parts import Thinking
from app.errors import InvalidPolicy
from tests.domain.ranges import TINY, check_range

MINUTES = st.times().map(lambda moment: moment.replace(second=0, microsecond=0))


@pytest.mark.parametrize(
    ("moment", "is_quiet"),
    [(time(21, 59), False), (time(22, 0), True), (time(3, 0), True), (time(7, 0), False)],
)
def test_quiet_hours_pass_midnight(moment: time, is_quiet: bool) -> None:
    assert QuietHours.parse("22:00-07:00").contains(moment) is is_quiet


@pytest.mark.parametrize(
    ("moment", "is_quiet"),
    [(time(11, 59), False), (time(12, 0), True), (time(13, 59), True), (time(14, 0), False)],
)
def test_quiet_hours_of_one_day_begin_with_their_start_and_end_before_their_end(
    moment: time, is_quiet: bool
) -> None:
    assert QuietHours.parse("12:00-14:00").contains(moment) is is_quiet


@given(MINUTES, MINUTES, MINUTES)
def test_every_moment_is_quiet_in_a_span_or_in_the_rest_of_the_day(
    start: time, end: time, moment: time
) -> None:
    span, rest = QuietHours(start=start, end=end), QuietHours(start=end, end=start)
    assert start == end or span.contains(moment) is not rest.contains(moment)


def test_a_span_without_length_contains_nothing() -> None:
    noon = time(12, 0)
    assert not QuietHours(start=noon, end=noon).contains(noon)


@given(MINUTES, MINUTES)
def test_quiet_hours_are_written_as_they_are_read(start: time, end: time) -> None:
    hours = QuietHours(start=start, end=end)
    assert start == end or QuietHours.parse(str(hours)) == hours


@pytest.mark.parametrize(
    "text", ["22:00", "25:00-07:00", "a-b", "1-2-3", "22:00+02:00-07:00", "07:00-07:00", "T22-T07"]
)
def test_quiet_hours_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must look like 22:00-07:00"):
        QuietHours.parse(text)


def test_policy_by_default() -> None:
    assert SleepPolicy() == SleepPolicy(
        mass_threshold=20.0,
        adaptive_threshold=False,
        min_salience=0.5,
        min_experiences=10,
        min_interval_seconds=21_600.0,
        failure_backoff_seconds=600.0,
        cancel_pause_seconds=3_600.0,
        idle_seconds=60.0,
        wake_on_exchange=False,
        quiet_hours=None,
        max_experiences=256,
        max_prompt_share=0.25,
        max_phase_share=1.0,
        max_pattern_share=1.0,
        near_duplicate_jaccard=0.8,
        category_floors={},
        categories=dict(DEFAULT_CATEGORIES),
        promotion=Promotion.AUTOMATIC,
        rebuild_every_cycles=10,
        push_to_ollama=False,
        push_to_vllm=False,
        push_to_mirror=False,
        ollama_models_kept=2,
        regression_reports=3,
        regression_window=5,
        max_repetition_ratio=0.5,
        min_report_score=0.25,
        retain_text_days=0,
        retain_checkpoints=10,
    )


@pytest.mark.parametrize(
    ("field", "lowest", "highest"),
    [
        ("mass_threshold", TINY, None),
        ("min_salience", 0.0, 1.0),
        ("min_experiences", 1, 10**9),
        ("min_interval_seconds", 0.0, None),
        ("failure_backoff_seconds", 0.0, None),
        ("cancel_pause_seconds", 0.0, None),
        ("idle_seconds", 0.0, None),
        ("max_experiences", 1, 4096),
        ("max_prompt_share", 0.0, 1.0),
        ("max_phase_share", 0.0, 1.0),
        ("max_pattern_share", 0.0, 1.0),
        ("near_duplicate_jaccard", 0.5, 1.0),
        ("rebuild_every_cycles", 0, 10**9),
        ("ollama_models_kept", 0, 1000),
        ("regression_reports", 0, 1000),
        ("regression_window", 1, 1000),
        ("max_repetition_ratio", 0.0, 1.0),
        ("min_report_score", 0.0, 1.0),
        ("retain_text_days", 0, 36_500),
        ("retain_checkpoints", 0, 100_000),
    ],
)
def test_policy_takes_what_lies_between_the_ends_of_a_range(
    field: str, lowest: float, highest: float | None
) -> None:
    check_range(SleepPolicy, field, lowest, highest)


def test_policy_takes_json_and_nothing_that_it_does_not_name() -> None:
    policy = SleepPolicy(quiet_hours="22:00-07:00", promotion="manual")  # type: ignore[arg-type]
    assert (str(policy.quiet_hours), policy.promotion) == ("22:00-07:00", Promotion.MANUAL)
    assert replace(policy, quiet_hours=policy.quiet_hours) == policy
    assert SleepPolicy(thinking="keep").thinking is Thinking.KEEP  # type: ignore[arg-type]
    for wrong in ({"quiet_hours": 22}, {"min_experiences": "3"}, {"lullaby": True}):
        with pytest.raises(ValidationError):
            SleepPolicy(**wrong)


def test_laid_over_categories_stand_in_for_those_of_the_same_name_alone() -> None:
    changes = {"categories": {"identity": ["me"], "garden": ["basil"]}, "idle_seconds": 5}
    policy = lay_over_policy(SleepPolicy(), changes)
    assert policy.categories == {
        **DEFAULT_CATEGORIES,
        "identity": ("me",),
        "garden": ("basil",),
    }
    assert policy.idle_seconds == 5.0
    with pytest.raises(InvalidPolicy, match=r"^policy\.idle_seconds: Input should be") as refused:
        lay_over_policy(policy, {"idle_seconds": -1})
    assert refused.value.pointer == "/policy/idle_seconds"


@pytest.mark.parametrize(
    ("reports", "window"), [(3, 3), (3, 4), (3, None), (None, 2), (None, None)]
)
def test_a_window_may_be_as_large_as_the_reports_asked_of_it(
    reports: int | None, window: int | None
) -> None:
    check_reach({"regression_reports": reports, "regression_window": window})


def test_a_window_smaller_than_the_reports_asked_of_it_is_refused() -> None:
    with pytest.raises(InvalidPolicy, match="regression_reports is 3 and regression_window 2"):
        check_reach({"regression_reports": 3, "regression_window": 2})
