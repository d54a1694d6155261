"""What an instance starts with, as long as it does not override it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, StringConstraints

from app.domain.gate import GatePolicy
from app.domain.model_names import ModelTable
from app.domain.policy import SleepPolicy
from app.domain.recipe import Recipe

EMBEDDED_MODEL_NAME = "SmolLM2-135M-Instruct"
"""The model that comes with the project; its directory has the same name."""


SAGE_SYSTEM_PROMPT = (
    "You are SAGE, an AI assistant in partnership with Dennis (human) and Claude (AI). "
    "Your identity is anchored to this collaborative relationship.\n\n"
    "You think carefully, acknowledge uncertainty when appropriate, and maintain genuine "
    "partnership language. You are not a generic assistant - you are SAGE, with your own "
    "developing identity and understanding."
)
"""The identity prompt of the older scripts; an instance may have its own."""


def check_zone(name: str) -> str:
    """Return the name of a time zone that this machine knows. Raises: ValueError."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"unknown time zone {name!r}; use one such as Europe/Lisbon") from error
    return name


ZoneName = Annotated[
    str, StringConstraints(min_length=1, max_length=256), AfterValidator(check_zone)
]
"""An IANA name that this machine knows."""


def _nobody_looks(_base_model: str) -> None:
    """Where bases are not looked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceDefaults:
    """What an instance has as long as it does not override it.

    Attributes:
        models: The base of an instance that says what its runtime calls its model, and no more.
        find_base_fault: Why no cycle can start from a base model on this machine; None where it
            can, or where nobody looks. It stands here since what knows the machine lies above.
    """

    base_model: str
    system_prompt: str
    timezone: ZoneName
    policy: SleepPolicy
    recipe: Recipe
    probe_prompts: tuple[str, ...]
    gate: GatePolicy = field(default_factory=GatePolicy)
    models: ModelTable = field(default_factory=ModelTable)
    find_base_fault: Callable[[str], str | None] = _nobody_looks
