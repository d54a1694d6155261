"""What a model recalls of what was told, before and after a cycle; no word of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.dreams import DreamKind
from app.domain.experience import CycleRole
from app.domain.stored import Figure


@dataclass(frozen=True, kw_only=True, slots=True)
class DreamCount:
    """How many dreams of a kind were trained on."""

    kind: DreamKind
    trained: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Recollection:
    """Whether one model's reply to a question that nobody trained holds what was told.

    Attributes:
        role: What the exchange was to the cycle: learned in it, or rehearsed.
    """

    experience_id: str
    role: CycleRole
    is_recalled: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Recalled:
    """One statement: whether it was recalled before the cycle, and whether it is now."""

    experience_id: str
    role: CycleRole
    before: bool
    after: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class RecallReport:
    """What a cycle's dreams came to.

    Attributes:
        counts: What was trained on.
        statements: What was asked for, by a question each that was not trained.
        nats_before: Median over the tokens of the answers to those questions, nats; with the
            adapter that the cycle began with.
        nats_after: The same with the adapter read back from its files.
        invented_base: Share of questions about what nobody told, none of them trained, that the
            bare base answers as if somebody had.
        invented_after: The same with the adapter read back.
    """

    counts: tuple[DreamCount, ...]
    statements: tuple[Recalled, ...]
    nats_before: Figure
    nats_after: Figure
    invented_base: Figure = math.nan
    invented_after: Figure = math.nan

    def of(self, role: CycleRole) -> tuple[Recalled, ...]:
        """The statements of a role."""
        return tuple(one for one in self.statements if one.role is role)


def compare(before: Sequence[Recollection], after: Sequence[Recollection]) -> tuple[Recalled, ...]:
    """The same statements side by side."""
    return tuple(
        Recalled(
            experience_id=first.experience_id,
            role=first.role,
            before=first.is_recalled,
            after=second.is_recalled,
        )
        for first, second in zip(before, after, strict=True)
    )
