"""Wire models of what an operator watches: statistics and health."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from app.domain.decision import SleepDecision, Trigger
from app.domain.progress import CycleError, CycleStatus, Progress


class CycleSummaryOut(BaseModel):
    """A cycle in a line."""

    id: str
    number: int
    status: CycleStatus
    trigger: Trigger
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    progress: Progress | None
    error: CycleError | None
    held_out_before: float | None
    held_out_after: float | None


class CheckpointSummaryOut(BaseModel):
    """A checkpoint in a line."""

    id: str
    name: str
    created_at: datetime


class InstanceStatsOut(BaseModel):
    """An instance at a glance."""

    instance: str
    counts: dict[str, int]
    mass: float
    mass_threshold: float
    decision: SleepDecision
    salience_averages: dict[str, float] | None
    last_exchange_at: datetime | None
    last_cycle: CycleSummaryOut | None
    running_cycle: CycleSummaryOut | None
    current_checkpoint: CheckpointSummaryOut | None


class ActiveCycleOut(CycleSummaryOut):
    """A queued or running cycle, and whose it is."""

    instance: str


class ReadyOut(BaseModel):
    """Whether the daemon can do its job; each check says `ok` or what is wrong."""

    status: Literal["ready", "degraded", "unavailable"]
    checks: dict[str, str]


class DiskOut(BaseModel):
    """The disk that the data directory lies on, and what of it the data take; null: unknown."""

    free_bytes: int | None
    total_bytes: int | None
    database_bytes: int | None
    checkpoints_bytes: int = Field(description="Files of the checkpoints that are there.")


class StatsOut(BaseModel):
    """The daemon at a glance; `next` goes into `cursor` for the instances that follow.

    `clock_doubt`: why nothing is removed for its age at present, since the clock jumped or stands
    far from the newest exchange; null where it is believed. `active`: the queued and running cycles
    of all instances that may be seen, the running one first, whatever the page.
    """

    version: str
    started_at: datetime
    uptime_seconds: float
    refuses_writes: str | None = Field(
        description="Why nothing is stored until someone acts; null: it is."
    )
    clock_doubt: str | None
    health: ReadyOut
    disk: DiskOut
    active: list[ActiveCycleOut]
    instance_count: int = Field(description="Of those asked for, on all pages.")
    instances: list[InstanceStatsOut]
    has_more: bool
    next: str | None


class HealthOut(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"
    version: str
