"""Wire models of instances: policy, recipe, and what they come to."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from app.api.schemas.envelope import RequestModel, shown_as
from app.domain.declared import open_fields_of, with_fields
from app.domain.exchange import Label, Text
from app.domain.instance import ZoneName
from app.domain.policy import SleepPolicy
from app.domain.presets import Preset, PresetName
from app.domain.recipe import Recipe

HubId = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$")
]
"""`owner/name`; a path is a matter of who is on the machine, never of a client."""


@with_fields(open_fields_of(SleepPolicy))
class PolicyIn(RequestModel):
    """When an instance sleeps, and when a checkpoint goes; what is left out follows settings."""


@with_fields(open_fields_of(Recipe))
class RecipeIn(RequestModel):
    """Hyper-parameters of an instance, alone or over a preset; the rest follows the settings."""

    preset: PresetName | None = None


class InstanceIn(RequestModel):
    """An instance's own settings; what is left out follows the daemon's settings."""

    model_config = shown_as(
        base_model="Qwen/Qwen2.5-0.5B-Instruct",
        model_name="qwen2.5:0.5b",
        timezone="America/Los_Angeles",
        policy={"mass_threshold": 12.0, "quiet_hours": "08:00-22:00", "promotion": "manual"},
        recipe={"preset": "standard", "epochs": 2},
    )

    base_model: HubId | None = None
    model_name: Annotated[
        Label | None,
        Field(
            description="What its runtime calls its model, such as an Ollama tag; its base follows "
            "from that where none is named."
        ),
    ] = None
    system_prompt: Text | None = None
    timezone: ZoneName | None = None
    policy: PolicyIn = PolicyIn()
    recipe: RecipeIn = RecipeIn()


class RebuildIn(RequestModel):
    """A new start from the base, and who wants it."""

    model_config = shown_as(reason="Something was erased.", actor="operator@sprout")

    reason: Label | None = None
    actor: Label = "api"


class PushIn(RequestModel):
    """Where what is live should go."""

    model_config = shown_as(runtime="ollama")

    runtime: Literal["ollama", "vllm"]


class PushOut(BaseModel):
    """What the runtime calls what is live now; null where that is the bare base."""

    instance: str
    runtime: Literal["ollama", "vllm"]
    model: str | None
    checkpoint_id: str | None


class WakeIn(RequestModel):
    """Who wants the instance awake."""

    model_config = shown_as(actor="session@sprout")

    actor: Label = "api"


class WakeOut(BaseModel):
    """What makes way for the instance.

    `sleep_cycle_id`: the cycle that stops, or does not start; null where none is active. It goes on
    once no exchange, and no further wake, has come for `idle_seconds`.
    """

    instance: str
    sleep_cycle_id: str | None
    was_running: bool
    idle_seconds: float


@with_fields(open_fields_of(SleepPolicy))
class PolicyOverrides(BaseModel):
    """What of the policy an instance sets itself; what is not there follows the settings."""


@with_fields(open_fields_of(Recipe))
class RecipeOverrides(BaseModel):
    """What of the recipe an instance sets itself; what is not there follows the settings."""

    preset: Preset | None = None


class InstanceOverrides(BaseModel):
    """What an instance sets itself."""

    policy: PolicyOverrides
    recipe: RecipeOverrides


class InstanceOut(BaseModel):
    """An instance with every default filled in, and what it overrides.

    `base_model`: null where nobody named it and no table knows `model_name`; then nothing is
    trained, and the sleep decision says how to name it.
    """

    instance: str
    base_model: str | None
    model_name: str | None
    system_prompt: str
    timezone: str
    policy: SleepPolicy
    recipe: Recipe
    overrides: InstanceOverrides
    last_exchange_at: datetime | None
    created_at: datetime
    updated_at: datetime
