"""Which experience was what to which cycle and checkpoint, and with which weight."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.experience import CycleRole, ExperienceStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """An experience that a checkpoint was made with."""

    experience_id: str
    role: CycleRole
    position: int
    weight: float


@dataclass(frozen=True, kw_only=True, slots=True)
class LineageUse(Provenance):
    """An experience that a checkpoint, or the ancestor named here, was made with."""

    checkpoint_id: str
    sleep_cycle_id: str
    cycle_number: int


@dataclass(frozen=True, kw_only=True, slots=True)
class UsedExperience:
    """An experience that a cycle used, never its text; `status` is the present one."""

    id: str
    role: CycleRole
    weight: float
    status: ExperienceStatus
