"""When session reports take the current checkpoint back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.policy import SleepPolicy
from app.domain.rebuild import is_rebuild_due
from app.domain.regression import SessionReport, find_faults, judge_reports

POLICY = SleepPolicy()
GOOD = SessionReport(repetition_ratio=0.0, score=0.9)
BAD = SessionReport(repetition_ratio=0.9, score=None)


@pytest.mark.parametrize(
    ("ratio", "score", "faults"),
    [
        (0.5, 0.25, 0),
        (0.51, None, 1),
        (0.0, 0.24, 1),
        (0.9, 0.1, 2),
        (0.0, None, 0),
    ],
)
def test_report_at_its_limit_is_good_and_beyond_is_bad(
    ratio: float, score: float | None, faults: int
) -> None:
    report = SessionReport(repetition_ratio=ratio, score=score)
    assert len(find_faults(report, POLICY)) == faults


def test_third_bad_one_of_the_last_five_takes_it_back() -> None:
    assert not judge_reports([BAD, GOOD, BAD], POLICY).is_regressed
    found = judge_reports([BAD, GOOD, BAD, GOOD, BAD], POLICY)
    assert found.is_regressed
    assert found.text.startswith(
        "the reports of 3 of the newest 5 sessions bad, 3 of 5 take it back"
    )
    assert "repetition 0.90, at most 0.50" in found.text


def test_bad_ones_older_than_the_window_are_forgotten() -> None:
    assert not judge_reports([BAD, BAD, GOOD, GOOD, GOOD, BAD], POLICY).is_regressed


def test_window_smaller_than_the_count_still_acts() -> None:
    policy = SleepPolicy(regression_reports=3, regression_window=1)
    assert judge_reports([BAD, BAD, BAD], policy).is_regressed


@given(st.lists(st.sampled_from([GOOD, BAD]), max_size=12))
def test_zero_switches_it_off(reports: list[SessionReport]) -> None:
    assert not judge_reports(reports, SleepPolicy(regression_reports=0)).is_regressed


@given(st.lists(st.sampled_from([GOOD, BAD]), max_size=12), st.integers(1, 6), st.integers(1, 6))
def test_a_bad_report_never_speaks_for_a_checkpoint(
    reports: list[SessionReport], count: int, window: int
) -> None:
    policy = SleepPolicy(regression_reports=count, regression_window=window)
    worse = [BAD, *reports[1:]]
    if judge_reports(reports, policy).is_regressed:
        assert judge_reports(worse, policy).is_regressed


@pytest.mark.parametrize(
    ("every", "stacked", "since_refused", "is_due"),
    [
        (0, 100, None, False),
        (3, 2, None, False),
        (3, 3, None, True),
        (3, 4, None, True),
        (3, 4, 1, False),
        (3, 6, 3, True),
    ],
)
def test_rebuild_is_due_after_so_many_stacked_updates(
    every: int, stacked: int, since_refused: int | None, is_due: bool
) -> None:
    policy = SleepPolicy(rebuild_every_cycles=every)
    assert is_rebuild_due(stacked, since_refused, policy) is is_due
