"""How far a cycle is, and how long it will take: from what an earlier one took and this one does.

A trainer says which stage it is in and, in training, at which step. What a stage takes is known
from an earlier cycle of the same base; of the first one on a base only proportions are, and what
is left is told once it is seen how fast this machine loads it. Told are one share and one time for
the whole cycle. Must not know a clock: instants are handed in, in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from app.domain.progress import Progress, Stage

_STAGES = tuple(Stage)

_TIMED: Mapping[Stage, tuple[str, ...]] = {
    Stage.LOADING: ("imports", "loading"),
    Stage.EVALUATING_BEFORE: ("evaluating_before", "dreams"),
    Stage.TRAINING: ("training",),
    Stage.SAVING: ("saving",),
    Stage.EVALUATING_AFTER: ("evaluating_after", "replies"),
    Stage.PUBLISHING: (),
}
"""What a report's `seconds` call the parts of a stage. Without `references`: what is measured of a
base once is there for the cycles after."""

_PUBLISHING_SECONDS = 0.2

_FIRST_EXAMPLES = 56
_FIRST: Mapping[Stage, float] = {
    Stage.LOADING: 8.0,
    Stage.EVALUATING_BEFORE: 75.0,
    Stage.TRAINING: 61.0,
    Stage.SAVING: 0.1,
    Stage.EVALUATING_AFTER: 31.0,
    Stage.PUBLISHING: _PUBLISHING_SECONDS,
}
"""The seconds between the lines of the demo that README shows, on two cores, over so many
examples. Only their ratios count."""

_LEAST_LEFT = 0.1
"""Of the time that a stage has taken: so much is left at least, until it ends. What takes longer
than it was expected to is neither done nor stands still."""

_BELIEVED = 0.1
_BELIEVED_FIRST = 0.25
"""Of a cycle: what was expected counts as much as so much of this one. More in a first one: a
machine that reads the base for the first time is slow in that alone."""

_TRUSTED_STEPS = 0.2
"""Of a training's steps: after so many only what they took themselves counts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """What the stages should take.

    Attributes:
        seconds: By stage; of all stages.
        is_measured: From an earlier cycle, and no mere proportions.
    """

    seconds: Mapping[Stage, float]
    is_measured: bool


def expect_first(examples: int) -> Expected:
    """What the first cycle on a base should take, in proportion.

    Args:
        examples: That it trains on, over all epochs.
    """
    training = _FIRST[Stage.TRAINING] * examples / _FIRST_EXAMPLES
    return Expected(seconds={**_FIRST, Stage.TRAINING: training}, is_measured=False)


def expect(seconds: Mapping[str, float], *, examples_ratio: float) -> Expected:
    """What a cycle should take, by what an earlier one of the same base took.

    Args:
        seconds: Of the earlier cycle's report.
        examples_ratio: Examples that this one trains on, over all epochs, for each of that one's.
    """
    found = {stage: sum(seconds.get(part, 0.0) for part in _TIMED[stage]) for stage in _STAGES}
    found[Stage.TRAINING] *= examples_ratio
    found[Stage.PUBLISHING] = _PUBLISHING_SECONDS
    return Expected(seconds=found, is_measured=True)


class Pace:
    """Says of each progress that a trainer tells how far the whole cycle is.

    Args:
        now: When the cycle began.
    """

    def __init__(self, expected: Expected, *, now: float) -> None:
        self._expected = expected
        self._began_at = self._stage_began_at = now
        self._stage = _STAGES[0]
        self._first_step: int | None = None
        self._share = 0.0

    def tell(self, progress: Progress, *, now: float) -> Progress:
        """The same progress with `share`, which never falls, and `remaining_seconds`."""
        if progress.stage is not self._stage:
            self._stage, self._stage_began_at = progress.stage, now
        if self._first_step is None and progress.total_steps:
            self._first_step = progress.step
        left = self._stage_left(progress, now) + self._later_left(now)
        elapsed = now - self._began_at
        if elapsed:
            self._share = max(self._share, elapsed / (elapsed + left))
        is_known = self._expected.is_measured or self._stage is not Stage.LOADING
        return replace(
            progress,
            share=round(self._share, 4),
            remaining_seconds=round(left, 1) if is_known else None,
        )

    def _stage_left(self, progress: Progress, now: float) -> float:
        taken = now - self._stage_began_at
        left = max(self._expected.seconds[self._stage] * self._slowness(now) - taken, 0.0)
        if self._stage is Stage.TRAINING and self._first_step is not None:
            steps = progress.step - self._first_step + 1  # after an interruption the first is late
            by_steps = taken / steps * (progress.total_steps - progress.step)
            trust = min(1.0, steps / (_TRUSTED_STEPS * progress.total_steps))
            return trust * by_steps + (1 - trust) * left
        return max(left, _LEAST_LEFT * taken)

    def _later_left(self, now: float) -> float:
        later = (stage for stage in _STAGES if _is_after(stage, self._stage))
        return self._slowness(now) * sum(self._expected.seconds[stage] for stage in later)

    def _slowness(self, now: float) -> float:
        """What this cycle takes, for each second that was expected.

        By the stages that ended, and by the present one once it takes longer than that.
        """
        ended = (stage for stage in _STAGES if _is_after(self._stage, stage))
        expected = sum(self._expected.seconds[stage] for stage in ended)
        believed = _BELIEVED if self._expected.is_measured else _BELIEVED_FIRST
        prior = believed * sum(self._expected.seconds.values())
        until = expected + self._expected.seconds[self._stage]
        of_ended = (self._stage_began_at - self._began_at + prior) / max(expected + prior, 1e-9)
        with_this = (now - self._began_at + prior) / max(until + prior, 1e-9)
        return max(of_ended, with_this)


def _is_after(stage: Stage, other: Stage) -> bool:
    return _STAGES.index(stage) > _STAGES.index(other)
