"""Wire models of sleep cycles: the request, the decision, the cycle and its events."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from app.api.schemas.envelope import RequestModel, shown_as
from app.domain.cycle_report import Comparison, JudgedCheck
from app.domain.decision import SleepDecision, Trigger
from app.domain.declared import open_fields_of, with_fields
from app.domain.events import EventFacts, EventType
from app.domain.exchange import DEFAULT_INSTANCE, Slug
from app.domain.experience import Unfit
from app.domain.gate import Verdict, VerdictStatus
from app.domain.plan import CyclePlan
from app.domain.policy import SleepPolicy
from app.domain.presets import PRESET_FIELD, PresetName
from app.domain.progress import CycleError, CycleStatus, Progress
from app.domain.recipe import Recipe
from app.domain.report import TrainingReport

_OF_RECIPE = (
    "epochs", "learning_rate", "r", "lora_alpha", "target_modules", "dreams", "device",
)  # fmt: skip
_OF_POLICY = ("max_experiences", "min_salience")


@with_fields(open_fields_of(Recipe, *_OF_RECIPE) | open_fields_of(SleepPolicy, *_OF_POLICY))
class OverridesIn(RequestModel):
    """Values that replace the instance's for one cycle; single ones lie over the preset's."""

    preset: PresetName | None = None

    def recipe_changes(self) -> dict[str, Any]:
        """The preset and the hyper-parameters among them that were sent."""
        return self.model_dump(include={PRESET_FIELD, *_OF_RECIPE}, exclude_none=True)

    def policy_changes(self) -> dict[str, Any]:
        """The values of the policy among them that were sent."""
        return self.model_dump(include=set(_OF_POLICY), exclude_none=True)


class SleepCycleIn(RequestModel):
    """A request for sleep."""

    model_config = shown_as(instance="default", force=True, overrides={"epochs": 3})

    instance: Slug = DEFAULT_INSTANCE
    force: bool = False
    dry_run: bool = False
    overrides: OverridesIn = OverridesIn()


class SleepCycleOut(BaseModel):
    """A sleep cycle."""

    id: str
    instance: str
    number: int
    status: CycleStatus
    trigger: Trigger
    forced: bool
    decision: SleepDecision
    plan: CyclePlan
    progress: Progress | None
    metrics: TrainingReport | None
    verdict: Verdict | None
    error: CycleError | None
    checkpoint_id: str | None
    attempts: int
    created_at: datetime
    started_at: datetime | None
    heartbeat_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    woken_at: datetime | None = Field(
        description="Since when it waits for its instance to be idle again; null unless it does."
    )


class RefusalOut(BaseModel):
    """Why a request would be refused now."""

    code: str
    detail: str


class DryRunOut(BaseModel):
    """What a cycle would do now; nothing was started. `refused` is null if it would start.

    `set_aside` names what of it the base cannot be given, and would be left untrained; `error` is
    what it would fail with before it trains, or why nobody could look.
    """

    dry_run: Literal[True] = True
    instance: str
    refused: RefusalOut | None
    decision: SleepDecision
    experience_ids: tuple[str, ...]
    rehearsal_ids: tuple[str, ...]
    held_out_ids: tuple[str, ...]
    set_aside: tuple[Unfit, ...]
    error: CycleError | None
    plan: CyclePlan


class CycleFiguresOut(BaseModel):
    """A cycle in figures: what was measured of it, without its plan, its texts and its curve."""

    id: str
    number: int
    status: CycleStatus
    trigger: Trigger
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    trained: int
    checkpoint_id: str | None
    verdict: VerdictStatus | None
    failed_checks: tuple[str, ...]
    error: CycleError | None
    learned: tuple[Comparison, ...]
    kept: tuple[Comparison, ...]
    checks: tuple[JudgedCheck, ...]


class EventOut(BaseModel):
    """One fact; `id` is what Last-Event-ID resumes from.

    A newer daemon may have types that this one does not name.
    """

    id: int
    type: EventType | str
    at: datetime
    sleep_cycle_id: str | None
    checkpoint_id: str | None
    data: EventFacts
