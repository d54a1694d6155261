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


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a cycle is; `loss` in nats per supervised token, of the last step."""

    stage: Stage
    step: int = 0
    total_steps: int = 0
    epoch: int = 0
    loss: float | None = None
    tokens_per_second: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CycleError:
    """Why a cycle failed: a code for programs, and what helps, for a person."""

    code: str
    message: str
