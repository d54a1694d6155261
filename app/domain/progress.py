"""Where a sleep cycle stands.

    queued -> training -> evaluating -> succeeded | rejected | failed | cancelled
       ^          |  a killed cycle goes back to the queue
       +----------+

A cycle that ran well and was rejected by the gate is `rejected`, not `failed`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CycleStatus(StrEnum):
    """Where a sleep cycle stands."""

    QUEUED = "queued"
    TRAINING = "training"
    EVALUATING = "evaluating"
    SUCCEEDED = "succeeded"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_active(self) -> bool:
        """Whether the cycle is queued or running."""
        return self in ACTIVE_STATUSES


ACTIVE_STATUSES = (CycleStatus.QUEUED, CycleStatus.TRAINING, CycleStatus.EVALUATING)


RUNNING_STATUSES = (CycleStatus.TRAINING, CycleStatus.EVALUATING)


class Stage(StrEnum):
    """What a running cycle is doing."""

    LOADING = "loading"
    EVALUATING_BEFORE = "evaluating_before"
    TRAINING = "training"
    SAVING = "saving"
    EVALUATING_AFTER = "evaluating_after"
    PUBLISHING = "publishing"


_TOLD_STEPS = 20
"""How often a training's steps are told of in the event log; the row and the stream tell more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a cycle is.

    Attributes:
        step: Of the training, of `total_steps`, 0 before it.
        loss: Nats per supervised token, of the last step.
        share: Of the whole cycle, 0 to 1, by time; it never falls while an attempt runs.
        remaining_seconds: Of the whole cycle; None until it can be told.
    """

    stage: Stage
    step: int = 0
    total_steps: int = 0
    epoch: int = 0
    loss: float | None = None
    tokens_per_second: float | None = None
    share: float = 0.0
    remaining_seconds: float | None = None

    def is_news_after(self, last: Progress | None) -> bool:
        """Whether the event log should tell of it: another stage, or a twentieth of the steps."""
        if last is None or self.stage is not last.stage:
            return True
        return 0 < self.total_steps <= _TOLD_STEPS * (self.step - last.step)


@dataclass(frozen=True, kw_only=True, slots=True)
class CycleError:
    """Why a cycle failed: a code for programs, and what helps, for a person."""

    code: str
    message: str
