"""Wire models of sleep cycles: the request, the decision, the cycle and its events."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel

from app.api.schemas.envelope import RequestModel, shown_as
from app.domain.declared import open_fields_of, with_fields
from app.domain.exchange import DEFAULT_INSTANCE, Slug
from app.domain.experience import ExperienceStatus
from app.domain.policy import SleepPolicy
from app.domain.presets import PRESET_FIELD, PresetName
from app.domain.progress import CycleStatus
from app.domain.recipe import Recipe

_OF_RECIPE = (
    "epochs", "learning_rate", "r", "lora_alpha", "target_modules", "variations", "variation_share",
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


class ReasonOut(BaseModel):
    """One rule of the trigger, with its numbers in words."""

    rule: str
    met: bool
    text: str


class DecisionOut(BaseModel):
    """Whether sleep is due, and every reason for or against."""

    due: bool
    mass: float
    mass_threshold: float
    count: int
    reasons: list[ReasonOut]


class SleepCycleOut(BaseModel):
    """A sleep cycle."""

    id: str
    instance: str
    number: int
    status: CycleStatus
    trigger: str
    forced: bool
    decision: DecisionOut
    plan: dict[str, Any]
    progress: dict[str, Any] | None
    metrics: dict[str, Any] | None
    verdict: dict[str, Any] | None
    error: dict[str, Any] | None
    checkpoint_id: str | None
    attempts: int
    created_at: datetime
    started_at: datetime | None
    heartbeat_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None


class RefusalOut(BaseModel):
    """Why a request would be refused now."""

    code: str
    detail: str


class DryRunOut(BaseModel):
    """What a cycle would do now; nothing was started. `refused` is null if it would start."""

    dry_run: Literal[True] = True
    instance: str
    refused: RefusalOut | None
    decision: DecisionOut
    experience_ids: list[str]
    rehearsal_ids: list[str]
    held_out_ids: list[str]
    plan: dict[str, Any]


class ComparisonOut(BaseModel):
    """One measure of the bare base, before and after; null where it was not taken."""

    name: str
    words: str
    base: float | None
    before: float | None
    after: float | None
    standard_error: float | None


class CheckOut(BaseModel):
    """One rule of the gate with its numbers."""

    name: str
    passed: bool
    value: float | None
    limit: float | None
    baseline: float | None
    words: str


class RepliesOut(BaseModel):
    """What the model said to a probe prompt before and after."""

    prompt: str
    before: str
    after: str


class UsedExperienceOut(BaseModel):
    """An experience that a cycle used, never its text; `status` is the present one."""

    id: str
    role: str
    weight: float
    status: ExperienceStatus


class VariationCountOut(BaseModel):
    """How many variations of a kind were made and kept, and why the others were refused."""

    kind: str
    made: int
    kept: int
    refused: dict[str, int]


class LeftOutOut(BaseModel):
    """What a rule of curation kept out of a cycle, with its numbers in words."""

    rule: str
    text: str
    experience_ids: list[str]


class FloorOut(BaseModel):
    """What a category's floor came to, in words, and what it brought in."""

    category: str
    met: bool
    text: str
    experience_ids: list[str]


class CycleReportOut(BaseModel):
    """A cycle's report: what was learned, what was kept, and what the gate said.

    No text of an experience is in it. What survives an erasure: ids, weights, numbers, and replies
    that do not repeat the erased text.
    """

    id: str
    instance: str
    number: int
    status: CycleStatus
    trigger: str
    summary: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    parent_checkpoint_id: str | None
    checkpoint_id: str | None
    aliases: list[str]
    tainted_at: datetime | None
    regressed_at: datetime | None
    learned: list[ComparisonOut]
    kept: list[ComparisonOut]
    verdict: str | None
    checks: list[CheckOut]
    scale: float | None
    replies: list[RepliesOut]
    loss_curve: list[float | None]
    variations: list[VariationCountOut]
    experiences: list[UsedExperienceOut]
    left_out: list[LeftOutOut]
    floors: list[FloorOut]
    recipe: dict[str, Any]
    error: dict[str, Any] | None
    progress: dict[str, Any] | None


class CycleFiguresOut(BaseModel):
    """A cycle in figures: what was measured of it, without its plan, its texts and its curve."""

    id: str
    number: int
    status: CycleStatus
    trigger: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    trained: int
    checkpoint_id: str | None
    verdict: str | None
    failed_checks: list[str]
    error: dict[str, Any] | None
    learned: list[ComparisonOut]
    kept: list[ComparisonOut]


class EventOut(BaseModel):
    """One fact of a cycle's course; `id` is what Last-Event-ID resumes from."""

    id: int
    type: str
    at: datetime
    sleep_cycle_id: str | None
    checkpoint_id: str | None
    data: dict[str, Any]
