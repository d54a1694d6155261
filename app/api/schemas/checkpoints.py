"""Wire models of the registry: checkpoints, their provenance, and the aliases."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, StringConstraints

from app.api.schemas.envelope import RequestModel
from app.domain.exchange import Label


class FileOut(BaseModel):
    """One file of a checkpoint."""

    name: str
    size_bytes: int
    sha256: str


class CheckpointOut(BaseModel):
    """A checkpoint of the registry."""

    id: str
    instance: str
    name: str
    status: str
    aliases: list[str]
    sleep_cycle_id: str
    cycle_number: int
    parent_id: str | None
    base_model: str
    base_sha256: str
    verdict: dict[str, Any]
    metrics: dict[str, Any]
    files: list[FileOut]
    archive: FileOut
    note: str | None
    pinned: bool
    created_at: datetime
    deleted_at: datetime | None


class ProvenanceOut(BaseModel):
    """An experience a checkpoint was made with."""

    experience_id: str
    role: str
    position: int
    weight: float


class CheckpointDetailOut(CheckpointOut):
    """A checkpoint with every experience it was made with."""

    experiences: list[ProvenanceOut]


class CheckpointPatch(RequestModel):
    """What may be changed on a checkpoint; a field that is not sent stays."""

    note: Annotated[str | None, StringConstraints(max_length=2000)] = None
    pinned: bool = False


class PromoteIn(RequestModel):
    """A promotion; `force` needs a reason."""

    force: bool = False
    reason: Label | None = None
    actor: Label = "api"


class RollbackIn(RequestModel):
    """A rollback by one promotion."""

    reason: Label | None = None
    actor: Label = "api"


class AliasesOut(BaseModel):
    """Which checkpoint each alias names; an alias that points nowhere is null."""

    instance: str
    revision: int
    current: str | None
    previous: str | None
    candidate: str | None


class AliasMoveOut(BaseModel):
    """One move of an alias; null stands for the bare base model."""

    id: int
    alias: str
    from_checkpoint_id: str | None
    to_checkpoint_id: str | None
    action: str
    actor: str
    reason: str | None
    at: datetime
