"""What the daemon answers, typed; long, since there is much, and nothing but that.

Of sleep cycles in `cycles.py`, of events in `events.py`.

Statuses, kinds and names are plain text, since a newer daemon may have more. A field with a default
is one that an older daemon does not send, and the default is what then stands; every other one is
demanded. What this client does not know is in `raw`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from .cycles import CycleMetrics, CycleSummary, Decision, Recipe, Verdict
from .wire import Result


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
class ProblemDetail(Result):
    """One of several things that are wrong, and where: in the body, or which parameter."""

    detail: str
    pointer: str | None = None
    parameter: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem(Result):
    """Why something was refused: a problem document (RFC 9457).

    Attributes:
        type: Which kind of problem; its last part is the daemon's code for it.
        instance: Whose it is.
        experience_id, sleep_cycle_id: What stands in the way, where something does.
    """

    type: str = "about:blank"
    title: str = ""
    status: int | None = None
    detail: str = ""
    errors: tuple[ProblemDetail, ...] = ()
    instance: str | None = None
    experience_id: str | None = None
    sleep_cycle_id: str | None = None


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
        experience_id: The same as `id`.
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
    experience_id: str | None = None


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
    problem: Problem | None = None


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
class HistoryTurn(Result):
    """An earlier turn of the conversation."""

    role: str
    content: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolCall(Result):
    """A tool call of an exchange; `result` is whatever the tool gave."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    success: bool = True
    result: Any = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Lesson(Result):
    """A question with its answer that a teacher wrote about an experience, for that cycle."""

    question: str
    answer: str
    teacher: str
    cycle: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Experience(Result):
    """An experience as it is kept; asked for alone, with `lessons` and `sleep_cycles`."""

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
    history: tuple[HistoryTurn, ...]
    system_prompt: str | None
    tool_calls: tuple[ToolCall, ...]
    metadata: Mapping[str, Any]
    salience: Salience
    scorer: str
    similarity: float
    truncated: bool
    attempts: int
    content_sha256: str
    erased_at: datetime | None
    finish_reason: str | None = None
    near_copy_of: str | None = None
    lessons: tuple[Lesson, ...] = ()
    sleep_cycles: tuple[ExperienceUse, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Erasure(Result):
    """What erasing did; `checkpoints` learned from the experience and are marked.

    Attributes:
        purged: No file of the data directory holds a byte of the text; False while a long reader
            kept the log from being emptied; None from a daemon that does not say.
        erased_with: Exchanges whose own words repeated it, and that were erased with it.
        taken_from: Exchanges that quoted it, as history for one, and do no more.
        repeated_in: Exchanges that still say a part of it by themselves: erase them as well, or
            let them stay.
    """

    id: str
    status: str
    erased_at: datetime | None
    checkpoints: tuple[str, ...]
    purged: bool | None = None
    erased_with: tuple[str, ...] = ()
    taken_from: tuple[str, ...] = ()
    repeated_in: tuple[str, ...] = ()


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
    averages: Salience | None
    oldest_at: datetime | None
    newest_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointFile(Result):
    """One file of a checkpoint, or its archive."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance(Result):
    """An experience that a checkpoint's own cycle used."""

    experience_id: str
    role: str
    position: int
    weight: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint(Result):
    """A checkpoint of the registry.

    Attributes:
        aliases: Names that point at it: current, previous, candidate.
        tainted_at: Since when it holds something that was erased.
        regressed_at: When live reports took it back.
        experiences: What its own cycle used; filled when it is asked for alone.
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
    verdict: Verdict
    metrics: CycleMetrics
    files: tuple[CheckpointFile, ...]
    archive: CheckpointFile
    note: str | None
    pinned: bool
    created_at: datetime
    deleted_at: datetime | None
    tainted_at: datetime | None = None
    regressed_at: datetime | None = None
    experiences: tuple[Provenance, ...] = ()


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
        token_id: Of the token that it came with; None where none was demanded.
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
    token_id: str | None = None


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
class Push(Result):
    """What a runtime calls what is live now; None where that is the bare base."""

    instance: str
    runtime: str
    model: str | None
    checkpoint_id: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Wake(Result):
    """The cycle that makes way, None where none is active; it goes on after `idle_seconds`."""

    instance: str
    sleep_cycle_id: str | None
    was_running: bool
    idle_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SleepPolicy(Result):
    """When an instance sleeps, on what, and what becomes of a checkpoint.

    The defaults stand for rules that an older daemon does not have, and let everything pass.
    """

    mass_threshold: float
    min_salience: float
    min_experiences: int
    min_interval_seconds: float
    idle_seconds: float
    max_experiences: int
    failure_backoff_seconds: float = 0.0
    cancel_pause_seconds: float = 0.0
    adaptive_threshold: bool = False
    wake_on_exchange: bool = False
    thinking: str = "keep"
    quiet_hours: str | None = None
    max_prompt_share: float = 1.0
    max_phase_share: float = 1.0
    max_pattern_share: float = 1.0
    near_duplicate_jaccard: float = 1.0
    category_floors: Mapping[str, float] = field(default_factory=dict)
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    promotion: str = "automatic"
    push_to_ollama: bool = False
    push_to_vllm: bool = False
    push_to_mirror: bool = False
    ollama_models_kept: int = 2
    rebuild_every_cycles: int = 0
    regression_reports: int = 0
    regression_window: int = 0
    max_repetition_ratio: float = 1.0
    min_report_score: float = 0.0
    retain_text_days: int = 0
    retain_checkpoints: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyOverrides(Result):
    """What an instance sets of its policy; None is the daemon's."""

    mass_threshold: float | None = None
    adaptive_threshold: bool | None = None
    min_salience: float | None = None
    min_experiences: int | None = None
    min_interval_seconds: float | None = None
    failure_backoff_seconds: float | None = None
    cancel_pause_seconds: float | None = None
    thinking: str | None = None
    idle_seconds: float | None = None
    wake_on_exchange: bool | None = None
    quiet_hours: str | None = None
    max_experiences: int | None = None
    max_prompt_share: float | None = None
    max_phase_share: float | None = None
    max_pattern_share: float | None = None
    near_duplicate_jaccard: float | None = None
    category_floors: Mapping[str, float] | None = None
    categories: Mapping[str, tuple[str, ...]] | None = None
    promotion: str | None = None
    rebuild_every_cycles: int | None = None
    push_to_ollama: bool | None = None
    push_to_vllm: bool | None = None
    push_to_mirror: bool | None = None
    ollama_models_kept: int | None = None
    regression_reports: int | None = None
    regression_window: int | None = None
    max_repetition_ratio: float | None = None
    min_report_score: float | None = None
    retain_text_days: int | None = None
    retain_checkpoints: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipeOverrides(Result):
    """What an instance sets of its recipe, over a preset or alone; None is the daemon's."""

    preset: str | None = None
    epochs: int | None = None
    learning_rate: float | None = None
    batch_size: int | None = None
    r: int | None = None
    lora_alpha: int | None = None
    lora_dropout: float | None = None
    target_modules: tuple[str, ...] | None = None
    weight_decay: float | None = None
    warmup_ratio: float | None = None
    max_grad_norm: float | None = None
    max_length: int | None = None
    rehearsal_share: float | None = None
    anchor_weight: float | None = None
    anchors_per_batch: int | None = None
    anchor_interval: int | None = None
    anchor_identity_share: float | None = None
    dreams: int | None = None
    seed: int | None = None
    device: str | None = None
    quantization: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceOverrides(Result):
    """What an instance sets itself."""

    policy: PolicyOverrides
    recipe: RecipeOverrides


@dataclass(frozen=True, kw_only=True, slots=True)
class Instance(Result):
    """An instance with every default filled in; `overrides` is what it sets itself.

    `base_model` is None where nobody named it and `model_name` is not known.
    """

    instance: str
    base_model: str | None
    system_prompt: str
    timezone: str
    policy: SleepPolicy
    recipe: Recipe
    overrides: InstanceOverrides
    last_exchange_at: datetime | None
    created_at: datetime
    updated_at: datetime
    model_name: str | None = None


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
class Readiness(Result):
    """Whether the daemon can do its job: ready, degraded or unavailable, and each check."""

    status: str
    checks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class ActiveCycle(CycleSummary):
    """A queued or running cycle, and whose it is."""

    instance: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Disk(Result):
    """The disk that the data directory lies on, and what of it the data take; None: unknown."""

    free_bytes: int | None
    total_bytes: int | None
    database_bytes: int | None
    checkpoints_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Stats(Result):
    """The daemon at a glance; `next` is the cursor of the instances that follow.

    Attributes:
        refuses_writes: Why nothing is stored until someone acts; None: it is.
        clock_doubt: Why nothing is removed for its age at present; None where it is believed.
        active: Queued and running cycles of all instances, the running one first.
        instance_count: Of those asked for, on all pages.
    """

    version: str
    started_at: datetime
    uptime_seconds: float
    instances: tuple[InstanceStats, ...]
    refuses_writes: str | None = None
    has_more: bool = False
    next: str | None = None
    clock_doubt: str | None = None
    health: Readiness | None = None
    disk: Disk | None = None
    active: tuple[ActiveCycle, ...] = ()
    instance_count: int | None = None


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


@dataclass(frozen=True, kw_only=True, slots=True)
class MirroredCheckpoint(Result):
    """A checkpoint in the mirror, as its own manifest tells it.

    Attributes:
        fault: Why that cannot be used; what it would tell is None then.
        is_same_base: Whether it is for the instance's base; None where that is not there.
        verdict: What the gate said where it was made.
        adopted_from: What it was adopted from there; None where it was trained there.
        checkpoint_id: What it is on the daemon's machine; None where it is not there.
    """

    name: str
    instance: str
    id: str
    fault: str | None
    base_model: str | None
    base_sha256: str | None
    is_same_base: bool | None
    created_at: datetime | None
    verdict: str | None
    size_bytes: int | None
    adopted_from: str | None
    checkpoint_id: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Mirror(Result):
    """The mirror as one instance sees it, the newest checkpoint first.

    Attributes:
        pushed: The instance's checkpoints are copied there.
        waiting: Checkpoints, of all the daemon's instances, that the mirror lacks.
        fault: What kept the last of them from it.
        has_more: More lie there than are shown.
    """

    instance: str
    remote: str
    pushed: bool
    waiting: int
    fault: str | None
    failed_at: datetime | None
    checkpoints: tuple[MirroredCheckpoint, ...]
    has_more: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Webhook(Result):
    """Where what happens is told; None instances or types are all of them."""

    id: str
    url: str
    name: str
    instances: tuple[str, ...] | None
    types: tuple[str, ...] | None
    is_enabled: bool
    disabled_reason: str | None
    older_secret_until: datetime | None
    created_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class NewWebhook(Webhook):
    """A webhook with the secret that it signs with, which is shown this once."""

    secret: str


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookData(Result):
    """What a message says: ids, and what goes with its type.

    Attributes:
        checkpoint: What is live after a move, None for the bare base; else what it is about.
    """

    instance: str | None
    cycle: str | None
    checkpoint: str | None
    previous_checkpoint: str | None = None
    actor: str | None = None
    reason: str | None = None
    aliases: tuple[str, ...] | None = None
    bad_reports: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookMessage(Result):
    """What is sent, as Standard Webhooks has it."""

    type: str
    timestamp: datetime
    data: WebhookData


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookDelivery(Result):
    """A message to a webhook; `id` is its `webhook-id`, the same at each attempt."""

    id: str
    webhook_id: str
    type: str
    message: WebhookMessage
    status: str
    attempts: int
    next_attempt_at: datetime | None
    last_status_code: int | None
    last_error: str | None
    created_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatMessage(Result):
    """A reply."""

    role: str
    content: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatChoice(Result):
    """The one reply; `length` as `finish_reason` means cut."""

    index: int
    message: ChatMessage
    finish_reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatUsage(Result):
    """Tokens of the conversation and of the reply."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class AnsweredBy(Result):
    """Who answered, and what was kept of it.

    Attributes:
        checkpoint_id: None for the bare base.
        not_recorded: Why nothing was kept although that was asked for.
    """

    instance: str
    checkpoint_id: str | None
    base: str
    experience: Receipt | None
    not_recorded: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatCompletion(Result):
    """A whole reply, in OpenAI's form."""

    id: str
    object: str
    created: int
    model: str
    choices: tuple[ChatChoice, ...]
    usage: ChatUsage
    sage: AnsweredBy

    @property
    def text(self) -> str:
        """What was said."""
        return self.choices[0].message.content
