"""Wire models of the mirror: what lies there, and what of it is to be adopted."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.api.schemas.envelope import RequestModel, shown_as
from app.domain.gate import VerdictStatus
from app.domain.mirror import CHECKPOINT_PATTERN


class PullIn(RequestModel):
    """Which checkpoint of the mirror should be judged here."""

    model_config = shown_as(checkpoint="legion-qwen2.5-0.5b/7-01KAQW3M5T0000000000000012")

    checkpoint: Annotated[
        str,
        StringConstraints(pattern=CHECKPOINT_PATTERN),
        Field(description="Its name in the mirror: <instance>/<cycle>-<id>."),
    ]


class MirroredOut(BaseModel):
    """A checkpoint in the mirror, as its own manifest tells it.

    `fault`: why that cannot be used; what it would tell is null then. `is_same_base`: whether it is
    for this instance's base; null where that is not on this machine. `verdict`: what the gate said
    where it was made. `checkpoint_id`: what it is on this machine, itself or as it was adopted
    last; null where it is not here.
    """

    model_config = ConfigDict(from_attributes=True)

    name: str
    instance: str
    id: str
    fault: str | None
    base_model: str | None
    base_sha256: str | None
    is_same_base: bool | None
    created_at: datetime | None
    verdict: VerdictStatus | None
    size_bytes: int | None
    adopted_from: str | None = Field(
        description="What it was adopted from where it was made; null: it was trained there."
    )
    checkpoint_id: str | None


class MirrorOut(BaseModel):
    """The mirror as one instance sees it, the newest checkpoint first.

    `pushed`: this instance's checkpoints are copied there. `waiting`: checkpoints, of all
    instances, that the mirror lacks; `fault`: what kept the last of them from it.
    """

    instance: str
    remote: str
    pushed: bool
    waiting: int
    fault: str | None
    failed_at: datetime | None
    checkpoints: list[MirroredOut]
    has_more: bool = Field(description="More lie there than the newest 200.")
