"""Named recipes: a preset lays its fields over a recipe, and single fields lie over the preset.

Every preset names the same fields, so that choosing one takes another back completely. What is not
named here (seed, max_length, ...) stays as the daemon's settings or the instance have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import Field

from app.domain.declared import lay_fields_over
from app.domain.recipe import ALL_LINEAR, Recipe
from app.errors import InvalidPolicy


class Preset(StrEnum):
    """A recipe by name."""

    STANDARD = "standard"
    GENTLE = "gentle"
    RECALL = "recall"


PresetName = Annotated[
    Preset,
    Field(
        strict=False,
        description="Recipe to start from; the other fields replace single values of it.",
    ),
]

PRESET_FIELD = "preset"
"""The key beside single fields that names a preset, where overrides of a recipe are stored."""

_GENTLE: Mapping[str, Any] = MappingProxyType(
    {
        "epochs": 2,
        "learning_rate": 1e-5,
        "batch_size": 1,
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ("q_proj", "v_proj"),
        "anchor_weight": 0.0,
        "anchors_per_batch": 2,
        "anchor_interval": 3,
        "dreams": 0,
    }
)
"""The older scripts' recipe. 185 real exchanges took the embedded model's held-out loss from 3.589
to 3.569 nats per token: it harms little and teaches little, and the gate may call it inert."""

_RECALL: Mapping[str, Any] = MappingProxyType(
    {
        "epochs": 3,
        "learning_rate": 1e-3,
        "batch_size": 4,
        "r": 16,
        "lora_alpha": 32,
        "target_modules": (ALL_LINEAR,),
        "anchor_weight": 1.0,
        "anchors_per_batch": 2,
        "anchor_interval": 2,
        "dreams": 12,
    }
)
"""What people told is recalled, in many times the time of the standard recipe, and answers to what
nobody told are made up, for which the gate may reject it (`invention`); what it was measured with,
and what it costs, stands in the guide, `app/web/guide/recipe.md`."""

PRESETS: Mapping[Preset, Mapping[str, Any]] = MappingProxyType(
    {
        Preset.STANDARD: MappingProxyType({name: getattr(Recipe(), name) for name in _GENTLE}),
        Preset.GENTLE: _GENTLE,
        Preset.RECALL: _RECALL,
    }
)


def lay_over(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """The recipe with a preset, if `changes` names one, and then with its single fields.

    Args:
        recipe: What stays where nothing is changed.
        changes: Fields of a recipe, and perhaps `preset`; lists may stand for tuples, as in JSON.

    Raises: InvalidPolicy.
    """
    values = dict(changes)
    preset = values.pop(PRESET_FIELD, None)
    if preset is not None:
        if preset not in PRESETS:
            raise InvalidPolicy(
                f"recipe.{PRESET_FIELD}: there is no preset {preset!r}; there are "
                f"{', '.join(PRESETS)}.",
                pointer=f"/recipe/{PRESET_FIELD}",
            )
        values = {**PRESETS[Preset(preset)], **values}
    return lay_fields_over(recipe, values, section="recipe")
