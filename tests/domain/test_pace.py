"""One share and one time for a whole cycle, whatever it turns out to take."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.pace import Expected, Pace, expect, expect_first
from app.domain.progress import Progress, Stage

TOOK = {
    "imports": 3.0, "loading": 1.0, "references": 90.0, "evaluating_before": 8.0, "training": 20.0,
    "saving": 0.1, "evaluating_after": 5.0, "replies": 3.0,
}  # fmt: skip
STEPS = 20


def played(expected: Expected, durations: Mapping[Stage, float]) -> list[tuple[float, Progress]]:
    """A cycle whose stages take so long: what is told, and when, every tenth of a stage."""
    pace = Pace(expected, now=0.0)
    now, told = 0.0, []
    for stage, seconds in durations.items():
        is_trained = stage is Stage.TRAINING
        for part in range(1, STEPS + 1) if is_trained else range(10):
            at = now + seconds * part / (STEPS if is_trained else 10)
            step = {"step": part, "total_steps": STEPS} if is_trained else {}
            told.append((at, pace.tell(Progress(stage=stage, **step), now=at)))
        now += seconds
    return told


def like(seconds: Mapping[str, float], factor: float = 1.0) -> dict[Stage, float]:
    return {
        stage: factor * value for stage, value in expect(seconds, examples_ratio=1).seconds.items()
    }


durations = st.fixed_dictionaries({stage: st.floats(0, 1000) for stage in Stage})


@given(durations, st.booleans(), st.integers(0, 500))
def test_share_never_falls_and_no_cycle_is_done_before_its_end(
    took: dict[Stage, float], is_measured: bool, examples: int
) -> None:
    expected = expect(TOOK, examples_ratio=1) if is_measured else expect_first(examples)
    told = played(expected, took)
    shares = [progress.share for _, progress in told]
    assert shares == sorted(shares)
    assert all(0 <= share <= 1 for share in shares)
    left = [progress.remaining_seconds for _, progress in told]
    assert all(seconds is None or seconds >= 0 for seconds in left)


@pytest.mark.parametrize("factor", [1.0, 4.0])
def test_cycle_like_the_one_before_is_foretold(factor: float) -> None:
    took = like(TOOK, factor)
    whole = sum(took.values())
    told = played(expect(TOOK, examples_ratio=1), took)
    for at, progress in told:
        assert progress.remaining_seconds is not None
        if at > whole / 3:  # a machine four times as slow is known as such by then
            assert progress.remaining_seconds == pytest.approx(
                whole - at, rel=0.35, abs=0.04 * whole
            )
            assert progress.share == pytest.approx(at / whole, abs=0.12)


def test_what_a_training_takes_goes_by_its_examples_and_soon_by_its_own_steps() -> None:
    assert expect(TOOK, examples_ratio=3).seconds[Stage.TRAINING] == 60
    took = {**like(TOOK), Stage.TRAINING: 200.0}
    told = played(expect(TOOK, examples_ratio=1), took)
    half = [(at, one) for at, one in told if one.stage is Stage.TRAINING and one.step == STEPS / 2]
    ((at, progress),) = half
    assert progress.remaining_seconds == pytest.approx(sum(took.values()) - at, rel=0.3)


def test_what_was_kept_of_the_base_is_not_expected_again() -> None:
    assert expect(TOOK, examples_ratio=1).seconds[Stage.EVALUATING_BEFORE] == 8


def test_first_cycle_says_how_long_once_it_has_loaded() -> None:
    told = played(expect_first(56), like(TOOK))
    assert all((p.remaining_seconds is None) == (p.stage is Stage.LOADING) for _, p in told)


def test_training_that_goes_on_from_a_snapshot_counts_its_own_steps() -> None:
    pace = Pace(expect(TOOK, examples_ratio=1), now=0.0)
    pace.tell(Progress(stage=Stage.TRAINING), now=10.0)
    for step in range(81, 96):
        told = pace.tell(Progress(stage=Stage.TRAINING, step=step, total_steps=100), now=step - 70)
    assert told.remaining_seconds is not None
    assert told.remaining_seconds < 25  # five steps of a second, and what follows


def test_stage_that_takes_longer_is_not_done() -> None:
    pace = Pace(expect(TOOK, examples_ratio=1), now=0.0)
    shares = [pace.tell(Progress(stage=Stage.LOADING), now=now).share for now in (1, 10, 100, 1000)]
    assert shares == sorted(set(shares))
    assert shares[-1] < 0.95


@pytest.mark.parametrize(("total", "wanted"), [(5, 5), (20, 20), (755, 20), (10_000, 20)])
def test_log_hears_of_each_stage_and_of_every_twentieth_of_the_steps(
    total: int, wanted: int
) -> None:
    last, heard = None, 0
    for step in range(total + 1):
        progress = Progress(stage=Stage.TRAINING, step=step, total_steps=total if step else 0)
        if progress.is_news_after(last):
            last, heard = progress, heard + 1
    assert heard in {wanted, wanted + 1}
    assert Progress(stage=Stage.SAVING).is_news_after(last)
