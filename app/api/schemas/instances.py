"""Wire models of instances: policy, recipe, and what they come to."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, Field, StringConstraints, field_validator

from app.api.schemas.envelope import RequestModel, shown_as
from app.api.schemas.sleep_cycles import ModuleName, PresetName, VariationKinds
from app.domain.categories import CategoryFloors, CategoryRules
from app.domain.exchange import Label, Text
from app.domain.near_copies import MIN_JACCARD
from app.domain.policy import Promotion, QuietHours
from app.errors import InvalidPolicy

HubId = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$")
]
"""`owner/name`; a path is a matter of SAGE_BASE_MODEL, never of a client."""


class PolicyIn(RequestModel):
    """When an instance sleeps, and when a checkpoint goes; what is left out follows settings."""

    mass_threshold: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    min_salience: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    min_experiences: Annotated[int, Field(ge=1)] | None = None
    min_interval_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    idle_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    quiet_hours: Annotated[str | None, Field(examples=["22:00-07:00"])] = None
    max_experiences: Annotated[int, Field(ge=1, le=4096)] | None = None
    max_prompt_share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    max_phase_share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    max_pattern_share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    near_duplicate_jaccard: (
        Annotated[float, Field(ge=MIN_JACCARD, le=1, allow_inf_nan=False)] | None
    ) = None
    category_floors: Annotated[CategoryFloors | None, Field(examples=[{"identity": 0.1}])] = None
    categories: Annotated[
        CategoryRules | None, Field(examples=[{"identity": ["who are you", "my name"]}])
    ] = None
    promotion: Annotated[Promotion, Field(strict=False)] | None = None
    rebuild_every_cycles: Annotated[int, Field(ge=0)] | None = None
    regression_reports: Annotated[int, Field(ge=0, le=1000)] | None = None
    regression_window: Annotated[int, Field(ge=1, le=1000)] | None = None
    max_repetition_ratio: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    min_report_score: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    retain_text_days: Annotated[int, Field(ge=0, le=36500)] | None = None
    retain_checkpoints: Annotated[int, Field(ge=0, le=100_000)] | None = None

    @field_validator("quiet_hours")
    @classmethod
    def _parse(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                QuietHours.parse(value)
            except InvalidPolicy as error:
                raise ValueError(error.message) from error
        return value


class RecipeIn(RequestModel):
    """Hyper-parameters of an instance, alone or over a preset; the rest follows the settings."""

    preset: PresetName | None = None
    epochs: Annotated[int, Field(ge=1, le=100)] | None = None
    learning_rate: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=256)] | None = None
    r: Annotated[int, Field(ge=1, le=512)] | None = None
    lora_alpha: Annotated[int, Field(ge=1, le=1024)] | None = None
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    target_modules: Annotated[list[ModuleName], Field(min_length=1, max_length=64)] | None = None
    weight_decay: Annotated[float, Field(ge=0, le=1)] | None = None
    warmup_ratio: Annotated[float, Field(ge=0, le=1)] | None = None
    max_grad_norm: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    max_length: Annotated[int, Field(ge=16, le=32768)] | None = None
    rehearsal_share: Annotated[float, Field(ge=0, le=1)] | None = None
    anchor_weight: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = None
    anchors_per_batch: Annotated[int, Field(ge=1, le=40)] | None = None
    anchor_interval: Annotated[int, Field(ge=1, le=1000)] | None = None
    variations: VariationKinds | None = None
    variation_share: Annotated[float, Field(ge=0, le=3, allow_inf_nan=False)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None


class InstanceIn(RequestModel):
    """An instance's own settings; what is left out follows the daemon's settings."""

    model_config = shown_as(
        base_model="Qwen/Qwen2.5-0.5B-Instruct",
        timezone="America/Los_Angeles",
        policy={"mass_threshold": 12.0, "quiet_hours": "08:00-22:00", "promotion": "manual"},
        recipe={"preset": "standard", "epochs": 2},
    )

    base_model: HubId | None = None
    system_prompt: Text | None = None
    timezone: Label | None = None
    policy: PolicyIn = PolicyIn()
    recipe: RecipeIn = RecipeIn()

    @field_validator("timezone")
    @classmethod
    def _know(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                ZoneInfo(value)
            except (ZoneInfoNotFoundError, ValueError, OSError) as error:
                raise ValueError("unknown time zone; use one such as Europe/Lisbon") from error
        return value


class RebuildIn(RequestModel):
    """A new start from the base, and who wants it."""

    model_config = shown_as(reason="Something was erased.", actor="operator@sprout")

    reason: Label | None = None
    actor: Label = "api"


class InstanceOut(BaseModel):
    """An instance with every default filled in, and what it overrides."""

    instance: str
    base_model: str
    system_prompt: str
    timezone: str
    policy: dict[str, Any]
    recipe: dict[str, Any]
    overrides: dict[str, Any]
    last_exchange_at: datetime | None
    created_at: datetime
    updated_at: datetime
