"""The wire models: what requests must and answers do look like.

The exchange itself is `app.domain.exchange.Exchange`, which import shares.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from app.domain.exchange import DEFAULT_INSTANCE, Label, Slug, Text
from app.domain.experience import ExperienceStatus
from app.domain.sleep import CycleStatus, QuietHours
from app.errors import InvalidPolicy

Item = TypeVar("Item")

ModuleName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.]{1,128}$")]
HubId = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$")
]
"""`owner/name`; a path is a matter of SAGE_BASE_MODEL, never of a client."""


class RequestModel(BaseModel):
    """A request body: strict, and unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ListOut(BaseModel, Generic[Item]):
    """One page of a list; `next` is the cursor of the page after."""

    data: list[Item]
    has_more: bool
    next: str | None


class SalienceOut(BaseModel):
    """The five components and their mean."""

    total: float
    surprise: float
    novelty: float
    arousal: float
    reward: float
    conflict: float


class ReceiptOut(BaseModel):
    """What became of a posted exchange.

    `stored` says that it counts: it entered the buffer or the held-out tenth. An exchange that
    was filtered or is below the threshold is kept for audit all the same.
    """

    id: str
    experience_id: str
    instance: str
    status: ExperienceStatus
    stored: bool
    duplicate: bool
    filtered: bool
    filter_reason: str | None
    reason: str | None
    similarity: float
    truncated: bool
    salience: SalienceOut
    scorer: str


class BatchItemOut(BaseModel):
    """What became of one exchange of a batch."""

    index: int
    result: Literal["inserted", "duplicate", "rejected"]
    experience: ReceiptOut | None = None
    problem: dict[str, Any] | None = None


class BatchOut(BaseModel):
    """What became of a batch, in the order it was sent."""

    inserted: int
    duplicate: int
    rejected: int
    results: list[BatchItemOut]


class ExperienceUseOut(BaseModel):
    """A cycle that used an experience, and the checkpoint it published."""

    sleep_cycle_id: str
    number: int
    status: CycleStatus
    role: str
    weight: float
    checkpoint_id: str | None


class ExperienceOut(BaseModel):
    """An experience as it is kept."""

    id: str
    instance: str
    status: ExperienceStatus
    reason: str | None
    prompt: str
    response: str
    session: str | None
    session_number: int | None
    phase: str | None
    occurred_at: datetime | None
    received_at: datetime
    source_id: str | None
    history: list[Any]
    system_prompt: str | None
    tool_calls: list[Any]
    metadata: dict[str, Any]
    salience: SalienceOut
    scorer: str
    similarity: float
    truncated: bool
    attempts: int
    content_sha256: str
    erased_at: datetime | None


class ExperienceDetailOut(ExperienceOut):
    """An experience with the cycles and checkpoints that hold it."""

    sleep_cycles: list[ExperienceUseOut]


class ErasedOut(BaseModel):
    """What erasing did: the text is gone, the named checkpoints were trained on it."""

    id: str
    status: ExperienceStatus
    erased_at: datetime | None
    checkpoints: list[str]


class OverridesIn(RequestModel):
    """Values that replace the instance's for one cycle."""

    epochs: Annotated[int | None, Field(ge=1, le=100)] = None
    learning_rate: Annotated[float | None, Field(gt=0, le=1, allow_inf_nan=False)] = None
    max_experiences: Annotated[int | None, Field(ge=1, le=4096)] = None
    min_salience: Annotated[float | None, Field(ge=0, le=1, allow_inf_nan=False)] = None
    r: Annotated[int | None, Field(ge=1, le=512)] = None
    lora_alpha: Annotated[int | None, Field(ge=1, le=1024)] = None
    target_modules: Annotated[list[ModuleName] | None, Field(min_length=1, max_length=64)] = None

    def recipe_changes(self) -> dict[str, Any]:
        """The hyper-parameters among them that were sent."""
        names = ("epochs", "learning_rate", "r", "lora_alpha")
        changes = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if self.target_modules is not None:
            changes["target_modules"] = tuple(self.target_modules)
        return changes


class SleepCycleIn(RequestModel):
    """A request for sleep."""

    instance: Slug = DEFAULT_INSTANCE
    force: bool = False
    dry_run: bool = False
    overrides: OverridesIn = OverridesIn()


class ReasonOut(BaseModel):
    """One rule of the trigger, with its numbers in words."""

    rule: str
    met: bool
    text: str


class DecisionOut(BaseModel):
    """Whether sleep is due, and every reason for or against."""

    due: bool
    mass: float
    mass_threshold: float
    count: int
    reasons: list[ReasonOut]


class SleepCycleOut(BaseModel):
    """A sleep cycle."""

    id: str
    instance: str
    number: int
    status: CycleStatus
    trigger: str
    forced: bool
    decision: DecisionOut
    plan: dict[str, Any]
    progress: dict[str, Any] | None
    metrics: dict[str, Any] | None
    verdict: dict[str, Any] | None
    error: dict[str, Any] | None
    checkpoint_id: str | None
    attempts: int
    created_at: datetime
    started_at: datetime | None
    heartbeat_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None


class RefusalOut(BaseModel):
    """Why a request would be refused now."""

    code: str
    detail: str


class DryRunOut(BaseModel):
    """What a cycle would do now; nothing was started. `refused` is null if it would start."""

    dry_run: Literal[True] = True
    instance: str
    refused: RefusalOut | None
    decision: DecisionOut
    experience_ids: list[str]
    rehearsal_ids: list[str]
    held_out_ids: list[str]
    plan: dict[str, Any]


class EventOut(BaseModel):
    """One fact of a cycle's course; `id` is what Last-Event-ID resumes from."""

    id: int
    type: str
    at: datetime
    sleep_cycle_id: str | None
    checkpoint_id: str | None
    data: dict[str, Any]


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


class PolicyIn(RequestModel):
    """When an instance sleeps; what is left out follows the settings."""

    mass_threshold: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    min_salience: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    min_experiences: Annotated[int, Field(ge=1)] | None = None
    min_interval_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    idle_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    quiet_hours: Annotated[str | None, Field(examples=["22:00-07:00"])] = None
    max_experiences: Annotated[int, Field(ge=1, le=4096)] | None = None

    @field_validator("quiet_hours")
    @classmethod
    def _parse(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                QuietHours.parse(value)
            except InvalidPolicy as error:
                raise ValueError(error.message) from error
        return value


class RecipeIn(RequestModel):
    """Hyper-parameters of an instance; what is left out follows the settings."""

    epochs: Annotated[int, Field(ge=1, le=100)] | None = None
    learning_rate: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=256)] | None = None
    r: Annotated[int, Field(ge=1, le=512)] | None = None
    lora_alpha: Annotated[int, Field(ge=1, le=1024)] | None = None
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    target_modules: Annotated[list[ModuleName], Field(min_length=1, max_length=64)] | None = None
    weight_decay: Annotated[float, Field(ge=0, le=1)] | None = None
    warmup_ratio: Annotated[float, Field(ge=0, le=1)] | None = None
    max_grad_norm: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    max_length: Annotated[int, Field(ge=16, le=32768)] | None = None
    rehearsal_share: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None


class InstanceIn(RequestModel):
    """An instance's own settings; what is left out follows the daemon's settings."""

    base_model: HubId | None = None
    system_prompt: Text | None = None
    timezone: Label | None = None
    policy: PolicyIn = PolicyIn()
    recipe: RecipeIn = RecipeIn()

    @field_validator("timezone")
    @classmethod
    def _know(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                ZoneInfo(value)
            except (ZoneInfoNotFoundError, ValueError, OSError) as error:
                raise ValueError("unknown time zone; use one such as Europe/Lisbon") from error
        return value


class InstanceOut(BaseModel):
    """An instance with every default filled in, and what it overrides."""

    instance: str
    base_model: str
    system_prompt: str
    timezone: str
    policy: dict[str, Any]
    recipe: dict[str, Any]
    overrides: dict[str, Any]
    last_exchange_at: datetime | None
    created_at: datetime
    updated_at: datetime


class CycleSummaryOut(BaseModel):
    """A cycle in a line."""

    id: str
    number: int
    status: CycleStatus
    trigger: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    progress: dict[str, Any] | None
    error: dict[str, Any] | None
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
    decision: DecisionOut
    salience_averages: dict[str, float] | None
    last_exchange_at: datetime | None
    last_cycle: CycleSummaryOut | None
    running_cycle: CycleSummaryOut | None
    current_checkpoint: CheckpointSummaryOut | None


class StatsOut(BaseModel):
    """The daemon at a glance."""

    version: str
    started_at: datetime
    uptime_seconds: float
    instances: list[InstanceStatsOut]


class HealthOut(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"
    version: str


class ReadyOut(BaseModel):
    """Whether the daemon can do its job; each check says `ok` or what is wrong."""

    status: Literal["ready", "degraded", "unavailable"]
    checks: dict[str, str]
