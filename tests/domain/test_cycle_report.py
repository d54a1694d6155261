"""A report is made of what is there, and says what became of the cycle."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from app.domain.cycle_report import find, summarise
from app.domain.gate import Check, Verdict, VerdictStatus
from app.domain.measurement import Measurement
from app.domain.progress import CycleStatus
from tests.measured import make_training_report

REPORT = make_training_report(before=3.0, after=2.5)


def say(status: CycleStatus, **values: Any) -> str:
    known: dict[str, Any] = {
        "trigger": "request",
        "aliases": [],
        "is_regressed": False,
        "failed_checks": [],
        "error": None,
        "progress": None,
    }
    return summarise(number=3, status=status, trained=12, **{**known, **values})


@pytest.mark.parametrize("status", list(CycleStatus))
def test_every_state_has_its_words(status: CycleStatus) -> None:
    assert "3" in say(status)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"aliases": ["current"]}, "is live"),
        ({"aliases": ["candidate"]}, "waits for a person"),
        ({"is_regressed": True}, "took it back"),
        ({}, "no longer live"),
    ],
)
def test_accepted_cycle_says_where_its_checkpoint_stands(
    values: dict[str, Any], words: str
) -> None:
    assert words in say(CycleStatus.SUCCEEDED, **values)


def test_refused_cycle_names_the_checks_and_a_rebuild_keeps_its_experiences() -> None:
    assert "loss rose" in say(CycleStatus.REJECTED, failed_checks=["loss rose"])
    assert "went back" in say(CycleStatus.REJECTED)
    assert "stay consolidated" in say(CycleStatus.REJECTED, trigger="rebuild")


def test_nothing_measured_is_nothing_found() -> None:
    found = find(None, None)
    assert not any((found.learned, found.kept, found.checks, found.replies, found.loss_curve))
    older = find(replace(REPORT, evaluation=None, loss_curve=(math.nan,)), None)
    assert [row.name for row in older.learned] == ["held_out_loss"]
    assert (older.kept, older.loss_curve, older.scale) == ((), (None,), None)


def test_measures_stand_beside_the_base_with_their_error() -> None:
    sides: dict[str, Any] = {
        side: replace(
            REPORT.measures.base,
            retention=replace(
                REPORT.measures.base.retention,
                general_kl=Measurement(value=kl, standard_error=0.01),
            ),
        )
        for side, kl in (("base", 0.0), ("before", 0.01), ("after", 0.03))
    }
    found = find(replace(REPORT, evaluation=replace(REPORT.measures, scale=0.5, **sides)), None)
    kept = {row.name: row for row in found.kept}
    row = kept["general_kl"]
    assert (row.base, row.before, row.after, row.standard_error) == (0.0, 0.01, 0.03, 0.01)
    assert found.scale == 0.5
    assert kept["words"].words == "replies: words"
    assert kept["replies"].standard_error is None


def test_check_that_is_not_finite_is_shown_without_its_number() -> None:
    check = Check(
        name="x", is_passed=False, value=math.nan, limit=2.0, baseline=None, text="x is no number"
    )
    (shown,) = find(None, Verdict(status=VerdictStatus.REJECTED, checks=(check,))).checks
    assert (shown.value, shown.limit, shown.baseline) == (None, 2.0, None)
    assert (shown.words, shown.is_passed) == ("x is no number", False)
