"""A report is made of what is there, and says what became of the cycle."""

from __future__ import annotations

from typing import Any

import pytest

from app.domain.cycle_report import find, summarise
from app.domain.progress import CycleStatus

EVALUATION = {
    side: {
        "retention": {"general_kl": {"value": kl, "standard_error": 0.01}},
        "replies": {"words": {"value": 20.0, "standard_error": 0.0}},
    }
    for side, kl in (("base", 0.0), ("before", 0.01), ("after", 0.03))
}


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
    assert find({"replies": [], "evaluation": None, "loss_curve": [None]}, {}).learned == ()


def test_measures_stand_beside_the_base_with_their_error() -> None:
    found = find({"evaluation": {**EVALUATION, "scale": 0.5}}, None)
    kept = {row.name: row for row in found.kept}
    row = kept["general_kl"]
    assert (row.base, row.before, row.after, row.standard_error) == (0.0, 0.01, 0.03, 0.01)
    assert found.scale == 0.5
    assert kept["words"].words == "replies: words"


def test_check_without_a_baseline_is_shown_all_the_same() -> None:
    (check,) = find(
        None, {"checks": [{"name": "x", "passed": True, "value": 1, "limit": 2}]}
    ).checks
    assert (check.value, check.limit, check.baseline, check.words) == (1.0, 2.0, None, "")


def test_variations_are_counted_by_kind_and_reason() -> None:
    counted = {"kind": "dropped_context", "made": 5, "kept": 3, "refused": {"loss": 2}}
    (found,) = find({"variations": {"counts": [counted], "findings": []}}, None).variations
    assert (found.kind, found.made, found.kept, found.refused) == tuple(counted.values())
    assert find({"variations": None}, None).variations == ()
    assert find({}, None).variations == ()
