"""Wire models of the registry: checkpoints, their provenance, and the aliases."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from app.api.schemas.envelope import RequestModel, shown_as
from app.domain.checkpoint import Alias, AliasAction, CheckpointFile, CheckpointStatus
from app.domain.exchange import Label
from app.domain.gate import Verdict
from app.domain.provenance import Provenance
from app.domain.report import TrainingReport


class CheckpointOut(BaseModel):
    """A checkpoint of the registry.

    `tainted_at`: since when it holds something that was erased, from its own cycle or an
    ancestor's. `regressed_at`: when live reports took it back.
    """

    id: str
    instance: str
    name: str
    status: CheckpointStatus
    aliases: list[Alias]
    sleep_cycle_id: str
    cycle_number: int
    parent_id: str | None
    base_model: str
    base_sha256: str
    verdict: Verdict
    metrics: TrainingReport
    files: tuple[CheckpointFile, ...]
    archive: CheckpointFile
    note: str | None
    pinned: bool
    created_at: datetime
    deleted_at: datetime | None
    tainted_at: datetime | None
    regressed_at: datetime | None


class CheckpointDetailOut(CheckpointOut):
    """A checkpoint with every experience its own cycle used."""

    experiences: list[Provenance]


class CheckpointPatch(RequestModel):
    """What may be changed on a checkpoint; a field that is not sent stays."""

    model_config = shown_as(note="The first that answers by name.", pinned=True)

    note: Annotated[str | None, StringConstraints(max_length=2000)] = None
    pinned: bool = False


class ReportIn(RequestModel):
    """A session's own verdict on the checkpoint it runs."""

    model_config = shown_as(
        session="s-23", repetition_ratio=0.1, score=0.8, report_id="s-23-after-ten-turns"
    )

    session: Label
    repetition_ratio: Annotated[
        float,
        Field(ge=0, le=1, allow_inf_nan=False, description="Share of replies that repeat."),
    ]
    score: Annotated[
        Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None,
        Field(description="How good the replies were; null where the session does not say."),
    ] = None
    note: Annotated[str, StringConstraints(max_length=2000)] | None = None
    report_id: Annotated[
        Label | None, Field(description="The session's own id: sent again, it is kept once.")
    ] = None


class ReportOut(BaseModel):
    """A session's report as it is kept.

    `counted`: the checkpoint was current when it came. `faults`: what the instance's policy finds
    bad about it. `rolled_back`: it was the one that took the checkpoint back. `token_id`: whose it
    is; null where no token was demanded.
    """

    id: str
    checkpoint_id: str
    session: str
    token_id: str | None
    repetition_ratio: float
    score: float | None
    note: str | None
    report_id: str | None
    received_at: datetime
    counted: bool
    faults: list[str]
    rolled_back: bool


class PromoteIn(RequestModel):
    """A promotion; `force` needs a reason."""

    model_config = shown_as(
        force=True, reason="Its replies read well to me.", actor="operator@sprout"
    )

    force: bool = False
    reason: Label | None = None
    actor: Label = "api"


class RollbackIn(RequestModel):
    """A rollback by one promotion."""

    model_config = shown_as(reason="It repeats itself.", actor="operator@sprout")

    reason: Label | None = None
    actor: Label = "api"


class DismissIn(RequestModel):
    """A person's refusal of the candidate."""

    model_config = shown_as(reason="It forgot who raised it.", actor="operator@sprout")

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
    alias: Alias
    from_checkpoint_id: str | None
    to_checkpoint_id: str | None
    action: AliasAction
    actor: str
    reason: str | None
    at: datetime
