"""What happens, as facts: every type of event and what an event of it says.

The one table of event types, `EVENTS`: writers, readers and the OpenAPI document use it. Facts are
ids, numbers and who asked; never conversation text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

from app.domain.decision import Trigger
from app.domain.mirror import UnmirrorReason
from app.domain.progress import CycleError, Progress
from app.domain.stored import from_json

FromCheckpoint = Annotated[str | None, Field(alias="from")]
ToCheckpoint = Annotated[str | None, Field(alias="to")]


class EventType(StrEnum):
    """What an event is about, and what happened to it."""

    CYCLE_QUEUED = "sleep_cycle.queued"
    CYCLE_STARTED = "sleep_cycle.started"
    CYCLE_PROGRESS = "sleep_cycle.progress"
    CYCLE_WOKEN = "sleep_cycle.woken"
    CYCLE_REQUEUED = "sleep_cycle.requeued"
    CYCLE_REPLANNED = "sleep_cycle.replanned"
    CYCLE_SUCCEEDED = "sleep_cycle.succeeded"
    CYCLE_REJECTED = "sleep_cycle.rejected"
    CYCLE_FAILED = "sleep_cycle.failed"
    CYCLE_CANCELLED = "sleep_cycle.cancelled"
    WORKER_STALLED = "sleep_cycle.worker_stalled"
    WORKER_KILLED = "sleep_cycle.worker_killed"
    WORKER_DIED = "sleep_cycle.worker_died"
    WORKER_DISK_FULL = "sleep_cycle.disk_full"
    CHECKPOINT_PROMOTED = "checkpoint.promoted"
    CHECKPOINT_ROLLED_BACK = "checkpoint.rolled_back"
    CHECKPOINT_PROPOSED = "checkpoint.proposed"
    CHECKPOINT_DISMISSED = "checkpoint.dismissed"
    CHECKPOINT_REGRESSED = "checkpoint.regressed"
    CHECKPOINT_DAMAGED = "checkpoint.damaged"
    CHECKPOINT_REPAIRED = "checkpoint.repaired"
    CHECKPOINT_TAINTED = "checkpoint.tainted"
    CHECKPOINT_DELETED = "checkpoint.deleted"
    CHECKPOINT_MIRRORED = "checkpoint.mirrored"
    CHECKPOINT_UNMIRRORED = "checkpoint.unmirrored"
    EXPERIENCE_ERASED = "experience.erased"
    EXPERIENCE_EXPIRED = "experience.expired"
    EXPERIENCES_SET_ASIDE = "experiences.set_aside"
    REBUILD_REQUESTED = "instance.rebuild_requested"


@dataclass(frozen=True, kw_only=True, slots=True)
class NoFacts:
    """The type says it all."""

    __pydantic_config__: ClassVar = ConfigDict(json_schema_extra={"additionalProperties": False})


@dataclass(frozen=True, kw_only=True, slots=True)
class CycleQueued:
    """A cycle waits for its turn, with so many experiences to train on."""

    number: int
    trigger: Trigger
    experiences: int
    mass: float


@dataclass(frozen=True, kw_only=True, slots=True)
class CycleStarted:
    """A worker took a cycle; `attempt` counts from 1."""

    attempt: int


@dataclass(frozen=True, kw_only=True, slots=True)
class CycleWoken:
    """Its instance is wanted: the cycle stops, and goes on once no exchange came for so long."""

    actor: str
    idle_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class CycleRequeued:
    """A cycle waits again; `exit_code` is its worker's, None where nobody saw it end."""

    exit_code: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CycleReplanned:
    """A queued cycle goes on from `parent` now, since `from` cannot be read."""

    from_checkpoint: FromCheckpoint
    parent: str | None
    actor: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CycleJudged:
    """The gate has spoken on the checkpoint that a cycle published."""

    checkpoint_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerEnded:
    """A worker's process ended and left its cycle; `exit_code` is below zero for a signal."""

    exit_code: int
    attempt: int
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CurrentMoved:
    """What is live changed; null stands for the bare base model."""

    from_checkpoint: FromCheckpoint
    to_checkpoint: ToCheckpoint
    actor: str
    reason: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CandidateMoved:
    """A checkpoint waits for a person, or a person refused it."""

    actor: str
    reason: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointRegressed:
    """Bad session reports took a checkpoint back; `report_id` is the last of them.

    Attributes:
        sessions: Those whose last report is bad, newest first.
        token_ids: The tokens that these reports came with; none where none was demanded.
    """

    bad_reports: int
    considered: int
    limit: int
    report_id: str
    sessions: tuple[str, ...] = ()
    token_ids: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointDamaged:
    """Files of a checkpoint are gone or altered; `aliases` named it."""

    code: str
    file: str | None = None
    aliases: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointTainted:
    """A checkpoint holds something that was erased."""

    experience_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointDeleted:
    """A checkpoint's files were deleted; older events do not tell by whom."""

    actor: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointMirrored:
    """A copy lies in the mirror, whole; `remote` is the mirror's name and path."""

    remote: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointUnmirrored:
    """The copy is gone from the mirror; `reason`: deleted here, or it learned what was erased."""

    remote: str
    reason: UnmirrorReason


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperienceErased:
    """An experience's text is gone; so many checkpoints learned from it, where it is told.

    Attributes:
        repeated: The experience that was to be erased, where this one only repeated it.
        taken_from: Experiences that quoted it and do no more.
    """

    experience_id: str
    checkpoints: int | None = None
    repeated: str | None = None
    taken_from: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class TextsExpired:
    """Texts went since the policy keeps them no longer, and the replies in so many reports."""

    experience_ids: tuple[str, ...]
    reports: int
    retain_text_days: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperiencesSetAside:
    """A cycle could not put these before its model; each has its reason with it."""

    experience_ids: tuple[str, ...]
    codes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RebuildRequested:
    """Someone wants a new start from the base, in place of `from`."""

    actor: str
    reason: str | None
    from_checkpoint: FromCheckpoint


EventFacts = (
    CycleQueued
    | CycleStarted
    | Progress
    | CycleWoken
    | CycleRequeued
    | CycleReplanned
    | CycleJudged
    | CycleError
    | WorkerEnded
    | CurrentMoved
    | CandidateMoved
    | CheckpointRegressed
    | CheckpointDamaged
    | CheckpointTainted
    | CheckpointDeleted
    | CheckpointMirrored
    | CheckpointUnmirrored
    | ExperienceErased
    | TextsExpired
    | ExperiencesSetAside
    | RebuildRequested
    | NoFacts
)

EVENTS: Mapping[EventType, type[EventFacts]] = {
    EventType.CYCLE_QUEUED: CycleQueued,
    EventType.CYCLE_STARTED: CycleStarted,
    EventType.CYCLE_PROGRESS: Progress,
    EventType.CYCLE_WOKEN: CycleWoken,
    EventType.CYCLE_REQUEUED: CycleRequeued,
    EventType.CYCLE_REPLANNED: CycleReplanned,
    EventType.CYCLE_SUCCEEDED: CycleJudged,
    EventType.CYCLE_REJECTED: CycleJudged,
    EventType.CYCLE_FAILED: CycleError,
    EventType.CYCLE_CANCELLED: NoFacts,
    EventType.WORKER_STALLED: WorkerEnded,
    EventType.WORKER_KILLED: WorkerEnded,
    EventType.WORKER_DIED: WorkerEnded,
    EventType.WORKER_DISK_FULL: WorkerEnded,
    EventType.CHECKPOINT_PROMOTED: CurrentMoved,
    EventType.CHECKPOINT_ROLLED_BACK: CurrentMoved,
    EventType.CHECKPOINT_PROPOSED: CandidateMoved,
    EventType.CHECKPOINT_DISMISSED: CandidateMoved,
    EventType.CHECKPOINT_REGRESSED: CheckpointRegressed,
    EventType.CHECKPOINT_DAMAGED: CheckpointDamaged,
    EventType.CHECKPOINT_REPAIRED: NoFacts,
    EventType.CHECKPOINT_TAINTED: CheckpointTainted,
    EventType.CHECKPOINT_DELETED: CheckpointDeleted,
    EventType.CHECKPOINT_MIRRORED: CheckpointMirrored,
    EventType.CHECKPOINT_UNMIRRORED: CheckpointUnmirrored,
    EventType.EXPERIENCE_ERASED: ExperienceErased,
    EventType.EXPERIENCE_EXPIRED: TextsExpired,
    EventType.EXPERIENCES_SET_ASIDE: ExperiencesSetAside,
    EventType.REBUILD_REQUESTED: RebuildRequested,
}


def read_facts(type_: str, stored: Mapping[str, Any]) -> EventFacts:
    """What a stored event says; nothing where a newer version wrote one of a type of its own."""
    try:
        kind = EVENTS[EventType(type_)]
    except ValueError:
        return NoFacts()
    return from_json(kind, stored)
