"""What the daemon answers, typed. Statuses are plain text, since a newer daemon may have more.

A field that is absent from older answers has a default; everything else is demanded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from .decoding import Result

ENDED_STATUSES = frozenset({"succeeded", "rejected", "failed", "cancelled"})
"""Statuses in which a sleep cycle is over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Salience(Result):
    """The five components, each 0..1, and their mean."""

    total: float
    surprise: float
    novelty: float
    arousal: float
    reward: float
    conflict: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt(Result):
    """What became of a posted exchange.

    Attributes:
        stored: It counts: it entered the buffer or the held-out tenth.
        duplicate: It was known already; nothing changed.
        filter_reason: Why the collapse filter took it out; None if it did not.
        reason: Why it has its status, whatever that is.
        similarity: Largest word overlap with a recent reply, 0..1.
        truncated: The reply looks cut.
    """

    id: str
    instance: str
    status: str
    stored: bool
    duplicate: bool
    filtered: bool
    filter_reason: str | None
    reason: str | None
    similarity: float
    truncated: bool
    salience: Salience
    scorer: str


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchItem(Result):
    """What became of one exchange of several.

    Attributes:
        index: Its place among those that were posted.
        result: inserted, duplicate or rejected.
        problem: Why it was rejected.
    """

    index: int
    result: str
    experience: Receipt | None = None
    problem: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchReceipt(Result):
    """What became of several exchanges, in the order they were posted."""

    inserted: int
    duplicate: int
    rejected: int
    results: tuple[BatchItem, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperienceUse(Result):
    """A cycle that used an experience, and the checkpoint it published."""

    sleep_cycle_id: str
    number: int
    status: str
    role: str
    weight: float
    checkpoint_id: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Experience(Result):
    """An experience as it is kept; `sleep_cycles` is filled when it is asked for alone."""

    id: str
    instance: str
    status: str
    reason: str | None
    prompt: str
    response: str
    session: str | None
    session_number: int | None
    phase: str | None
    occurred_at: datetime | None
    received_at: datetime
    source_id: str | None
    history: tuple[Any, ...]
    system_prompt: str | None
    tool_calls: tuple[Any, ...]
    metadata: Mapping[str, Any]
    salience: Salience
    scorer: str
    similarity: float
    truncated: bool
    attempts: int
    content_sha256: str
    erased_at: datetime | None
    sleep_cycles: tuple[ExperienceUse, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Erasure(Result):
    """What erasing did; `checkpoints` learned from the experience and are marked.

    Attributes:
        purged: No file of the data directory holds a byte of the text; False while a long reader
            kept the log from being emptied; None from a daemon that does not say.
    """

    id: str
    status: str
    erased_at: datetime | None
    checkpoints: tuple[str, ...]
    purged: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperienceSummary(Result):
    """What an instance has collected: the experiences that counted, erased ones left out.

    Attributes:
        averages: Mean of each component and of `total`; None before the first experience.
        salient: How many have a total of at least `min_salience`.
    """

    instance: str
    min_salience: float
    count: int
    salient: int
    averages: Mapping[str, float] | None
    oldest_at: datetime | None
    newest_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason(Result):
    """One rule of the trigger, with its numbers in words."""

    rule: str
    met: bool
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision(Result):
    """Whether sleep is due, and every reason for or against."""

    due: bool
    mass: float
    mass_threshold: float
    count: int
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class SleepCycle(Result):
    """A sleep cycle; plan, progress, metrics, verdict and error are the daemon's own JSON."""

    id: str
    instance: str
    number: int
    status: str
    trigger: str
    forced: bool
    decision: Decision
    plan: Mapping[str, Any]
    progress: Mapping[str, Any] | None
    metrics: Mapping[str, Any] | None
    verdict: Mapping[str, Any] | None
    error: Mapping[str, Any] | None
    checkpoint_id: str | None
    attempts: int
    created_at: datetime
    started_at: datetime | None
    heartbeat_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None

    @property
    def is_ended(self) -> bool:
        """Whether nothing more will come."""
        return self.status in ENDED_STATUSES


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal(Result):
    """Why a request would be refused now."""

    code: str
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SleepPreview(Result):
    """What a cycle would do now; `refused` is None if it would start."""

    instance: str
    refused: Refusal | None
    decision: Decision
    experience_ids: tuple[str, ...]
    rehearsal_ids: tuple[str, ...]
    held_out_ids: tuple[str, ...]
    plan: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Event(Result):
    """One fact; `id` is what a stream resumes after."""

    id: int
    type: str
    at: datetime
    sleep_cycle_id: str | None
    checkpoint_id: str | None
    data: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison(Result):
    """One measure of the bare base, before and after; None where it was not taken."""

    name: str
    words: str
    base: float | None
    before: float | None
    after: float | None
    standard_error: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Check(Result):
    """One rule of the gate with its numbers."""

    name: str
    passed: bool
    value: float | None
    limit: float | None
    baseline: float | None
    words: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Replies(Result):
    """What the model said to a probe prompt before and after."""

    prompt: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CycleReport(Result):
    """What a cycle learned, what it kept, and what the gate said."""

    id: str
    instance: str
    number: int
    status: str
    trigger: str
    summary: str
    checkpoint_id: str | None
    parent_checkpoint_id: str | None
    verdict: str | None
    learned: tuple[Comparison, ...]
    kept: tuple[Comparison, ...]
    checks: tuple[Check, ...]
    replies: tuple[Replies, ...]
    loss_curve: tuple[float | None, ...]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointFile(Result):
    """One file of a checkpoint, or its archive."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint(Result):
    """A checkpoint of the registry.

    Attributes:
        aliases: Names that point at it: current, previous, candidate.
        tainted_at: Since when it holds something that was erased.
        regressed_at: When live reports took it back.
    """

    id: str
    instance: str
    name: str
    status: str
    aliases: tuple[str, ...]
    sleep_cycle_id: str
    cycle_number: int
    parent_id: str | None
    base_model: str
    base_sha256: str
    verdict: Mapping[str, Any]
    metrics: Mapping[str, Any]
    files: tuple[CheckpointFile, ...]
    archive: CheckpointFile
    note: str | None
    pinned: bool
    created_at: datetime
    deleted_at: datetime | None
    tainted_at: datetime | None = None
    regressed_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointUse(Result):
    """An experience that a checkpoint, or the ancestor named here, was made with."""

    experience_id: str
    role: str
    position: int
    weight: float
    checkpoint_id: str
    sleep_cycle_id: str
    cycle_number: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveReport(Result):
    """A session's verdict on a checkpoint as it is kept.

    Attributes:
        counted: The checkpoint was current when it came.
        faults: What the instance's policy finds bad about it.
        rolled_back: It was the one that took the checkpoint back.
    """

    id: str
    checkpoint_id: str
    session: str
    repetition_ratio: float
    score: float | None
    note: str | None
    report_id: str | None
    received_at: datetime
    counted: bool
    faults: tuple[str, ...]
    rolled_back: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Aliases(Result):
    """Which checkpoint each alias names, None for none; `current` None is the bare base model.

    Attributes:
        revision: Hand it to `promote` or `rollback` to act on exactly this state.
    """

    instance: str
    revision: int
    current: str | None
    previous: str | None
    candidate: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class AliasMove(Result):
    """One move of an alias; None stands for the bare base model."""

    id: int
    alias: str
    from_checkpoint_id: str | None
    to_checkpoint_id: str | None
    action: str
    actor: str
    reason: str | None
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Instance(Result):
    """An instance with every default filled in; `overrides` is what it sets itself."""

    instance: str
    base_model: str
    system_prompt: str
    timezone: str
    policy: Mapping[str, Any]
    recipe: Mapping[str, Any]
    overrides: Mapping[str, Any]
    last_exchange_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class CycleSummary(Result):
    """A cycle in a line."""

    id: str
    number: int
    status: str
    trigger: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    progress: Mapping[str, Any] | None
    error: Mapping[str, Any] | None
    held_out_before: float | None
    held_out_after: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointSummary(Result):
    """A checkpoint in a line."""

    id: str
    name: str
    created_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceStats(Result):
    """An instance at a glance."""

    instance: str
    counts: Mapping[str, int]
    mass: float
    mass_threshold: float
    decision: Decision
    salience_averages: Mapping[str, float] | None
    last_exchange_at: datetime | None
    last_cycle: CycleSummary | None
    running_cycle: CycleSummary | None
    current_checkpoint: CheckpointSummary | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Stats(Result):
    """The daemon at a glance; `next` is the cursor of the instances that follow."""

    version: str
    started_at: datetime
    uptime_seconds: float
    instances: tuple[InstanceStats, ...]
    has_more: bool = False
    next: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Readiness(Result):
    """Whether the daemon can do its job: ready, degraded or unavailable, and each check."""

    status: str
    checks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Current:
    """What an instance runs now.

    Attributes:
        checkpoint: None for the bare base model.
        directory: Where its files lie, verified; None for the bare base model.
    """

    instance: str
    checkpoint: Checkpoint | None
    directory: Path | None

    @property
    def is_base(self) -> bool:
        """Whether it is the bare base model, without an adapter."""
        return self.checkpoint is None
