"""Who is talked to, by the one name that the OpenAI form has for it; and what of a talk is kept."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from app.domain.checkpoint import Alias

BASE = "base"
"""The name, behind an instance's, of its base model without any adapter."""

_UNSEEN = "\u200b"
_CHECKPOINT_ID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}", re.ASCII)

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelName:
    """What a `model` names.

    Attributes:
        instance: None where a checkpoint is named by its id alone.
        which: An alias, `base`, or a checkpoint's id.
    """

    instance: str | None
    which: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One message of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A conversation that waits for its reply, as an exchange has its parts.

    Attributes:
        system_prompt: What the caller said of it; None where it said nothing, empty for none.
    """

    system_prompt: str | None
    history: tuple[Turn, ...]
    prompt: str

    def messages(self, own_system_prompt: str) -> list[Turn]:
        """The conversation with a system prompt: the caller's, or else the instance's own."""
        told = own_system_prompt if self.system_prompt is None else self.system_prompt
        first = [Turn(role="system", content=told)] if told.strip() else []
        return [*first, *self.history, Turn(role="user", content=self.prompt)]


def without_control(text: str, control_tokens: Sequence[str]) -> str:
    """A message in which no control token stands: whoever writes one would speak as another.

    llama.cpp takes them for its own wherever they stand in a conversation. A sign that nobody sees
    behind the first letter leaves of each what training sees, too: its text.
    """
    for token in control_tokens:
        if len(token) > 1:
            text = text.replace(token, f"{token[0]}{_UNSEEN}{token[1:]}")
    return text


def read_model_name(name: str) -> ModelName:
    """Read `<instance>`, `<instance>@<alias, base or checkpoint's id>` or a checkpoint's id."""
    if _CHECKPOINT_ID.fullmatch(name):
        return ModelName(instance=None, which=name)
    instance, _, which = name.partition("@")
    return ModelName(instance=instance, which=which or Alias.CURRENT)


def read_conversation(turns: Sequence[Turn]) -> Asked:
    """Take a conversation apart.

    Raises: ValueError: The last turn is not the user's, or says nothing.
    """
    if not turns or turns[-1].role != "user" or not turns[-1].content.strip():
        raise ValueError("the last message must be the user's, with text in it")
    *before, last = turns
    has_system = bool(before) and before[0].role == "system"
    return Asked(
        system_prompt=before[0].content if has_system else None,
        history=tuple(before[has_system:]),
        prompt=last.content,
    )
