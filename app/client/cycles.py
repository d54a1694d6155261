"""What the daemon says of sleep cycles, typed; long, since there is much, and nothing but that.

As in `results.py`: statuses, kinds and names are plain text, since a newer daemon may have more; a
field with a default is one that an older daemon does not send, and the default is what then stands.
A measure is None where it is no number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from .wire import Result

ENDED_STATUSES = frozenset({"succeeded", "rejected", "failed", "cancelled"})
"""Statuses in which a sleep cycle is over."""


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
class Recipe(Result):
    """Hyper-parameters of a cycle, named as peft and transformers name them."""

    epochs: int
    learning_rate: float
    batch_size: int
    r: int
    lora_alpha: int
    lora_dropout: float
    target_modules: tuple[str, ...]
    weight_decay: float
    warmup_ratio: float
    max_grad_norm: float
    max_length: int
    rehearsal_share: float
    anchor_weight: float = 0.0
    anchors_per_batch: int = 0
    anchor_interval: int = 0
    anchor_identity_share: float = 0.0
    dreams: int = 0
    seed: int = 0
    device: str = "auto"
    quantization: str = "auto"


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut(Result):
    """Experiences that a rule of curation kept out of a cycle, and the rule with its numbers.

    Attributes:
        near_ids: Of near copies, what each is a copy of and was taken; else empty.
    """

    rule: str
    text: str
    experience_ids: tuple[str, ...]
    near_ids: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Floor(Result):
    """What a category's floor came to in a plan, and what it brought in."""

    category: str
    is_met: bool
    text: str
    experience_ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftLayers(Result):
    """Layers of one name that no adapter changes, and why; `*` for a number."""

    name: str
    count: int
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptedLayers(Result):
    """Which linear layers of the decoder's blocks an adapter changes; `summary` says it."""

    adapted: int
    total: int
    summary: str
    modules: tuple[str, ...]
    left: tuple[LeftLayers, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class AdoptedFrom(Result):
    """Where an adopted checkpoint comes from: the words of its maker's manifest."""

    mirror: str
    instance: str
    name: str
    checkpoint_id: str
    manifest_sha256: str
    adapter_sha256: str
    base_sha256: str
    verdict: str
    created_at: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CyclePlan(Result):
    """All that a cycle needs to run, and to be run again with the same result.

    Attributes:
        experience_ids: In training order, that of time.
        rehearsal_ids: Candidates; `rehearsal_count` of them are rehearsed, None for all.
        data_sha256: Over the content hashes of the three lists in order.
        parent_checkpoint_id: The adapter that the cycle starts from; None for the base.
        replaces_checkpoint_id: What was `current` when the cycle was queued.
        layers: Which layers the adapter changes; None until the model was looked at.
        adopted_from: What is judged in place of a training; None for a cycle that trains.
    """

    base_model: str
    system_prompt: str
    recipe: Recipe
    min_salience: float
    max_experiences: int
    parent_checkpoint_id: str | None
    experience_ids: tuple[str, ...]
    rehearsal_ids: tuple[str, ...]
    held_out_ids: tuple[str, ...]
    data_sha256: str
    probe_prompts: tuple[str, ...]
    replaces_checkpoint_id: str | None = None
    rehearsal_count: int | None = None
    thinking: str = "strip"
    left_out: tuple[LeftOut, ...] = ()
    floors: tuple[Floor, ...] = ()
    layers: AdaptedLayers | None = None
    adopted_from: AdoptedFrom | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress(Result):
    """How far a cycle is; `loss` in nats per supervised token, of the last step.

    Attributes:
        share: Of the whole cycle, 0 to 1; it never falls while an attempt runs.
        remaining_seconds: Of the whole cycle; None until it can be told.
    """

    stage: str
    step: int = 0
    total_steps: int = 0
    epoch: int = 0
    loss: float | None = None
    tokens_per_second: float | None = None
    share: float = 0.0
    remaining_seconds: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CycleError(Result):
    """Why a cycle failed: `code` for programs, `message` for people, with what helps."""

    code: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement(Result):
    """A value and its standard error."""

    value: float | None
    standard_error: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOutLoss(Result):
    """Mean and median loss over the held-out experiences, nats per supervised token."""

    nats_per_token: float | None
    tokens: int
    experiences: int
    standard_error: float | None = 0.0
    median_nats: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Retention(Result):
    """What is left of the base's general knowledge, nats per token; `kl` is KL(base || model)."""

    anchor_loss: Measurement
    anchor_kl: Measurement
    general_loss: Measurement
    general_kl: Measurement


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplyMeasures(Result):
    """How a model replies to the probes: `replies` and mean `words`, then shares and ratios."""

    replies: int
    words: Measurement
    repeated_ngrams: Measurement
    looping: Measurement
    distinct_1: Measurement
    distinct_2: Measurement
    similar_pairs: Measurement
    question_floods: Measurement
    copies: Measurement
    self_references: Measurement
    disclaimers: Measurement
    partnership: Measurement
    ended: Measurement | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelMeasures(Result):
    """One model's general knowledge and replies; `session_retention` as sessions ask for it."""

    retention: Retention
    replies: ReplyMeasures
    session_retention: Retention | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ScaleTrial(Result):
    """What the adapter forgot at one scale of B; `failed` names the checks it did not pass."""

    scale: float
    held_out: HeldOutLoss
    retention: Retention
    failed: tuple[str, ...]
    session_retention: Retention | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation(Result):
    """What a cycle is judged by beside held-out loss: of the bare base, before and after.

    Attributes:
        update_norm: The largest relative update of a layer in this cycle, at full scale.
        scale: What B was multiplied by before it was saved.
        trials: Scales that were tried, in order.
    """

    base: ModelMeasures
    before: ModelMeasures
    after: ModelMeasures
    held_out_gain: Measurement
    update_norm: float | None = None
    scale: float = 1.0
    trials: tuple[ScaleTrial, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Replies(Result):
    """What the model said to a probe prompt before and after."""

    prompt: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DreamCount(Result):
    """How many dreams of a kind were trained on: `quote`, `lesson`, or `untold`."""

    kind: str
    trained: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Recalled(Result):
    """One statement: whether a question that was not trained recalled it before, and does after."""

    experience_id: str
    role: str
    before: bool
    after: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class RecallReport(Result):
    """What a cycle's dreams came to.

    Nats are the median over the answers' tokens; `invented` the share of questions about what
    nobody told that were answered as if somebody had.
    """

    counts: tuple[DreamCount, ...]
    statements: tuple[Recalled, ...]
    nats_before: float | None
    nats_after: float | None
    invented_base: float | None = None
    invented_after: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Unfit(Result):
    """An experience that a cycle could not put before its model, and why."""

    experience_id: str
    code: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CycleMetrics(Result):
    """What a cycle measured.

    Attributes:
        held_out_before: With the parent adapter, or the bare base.
        held_out_reloaded: With the published adapter, read back from its files.
        held_out_replaced: With the adapter whose place it would take, where it is made anew.
        effect_nats: Mean absolute change of the held-out tokens' log-probabilities.
        loss_curve: Training loss of every step, nats per supervised token.
        unfit: What could not be put before the model; it was set aside.
        layers: Which of the base's linear layers the adapter changes.
        base_parts: SHA-256 of each part of the base: weights, configuration, tokenizer, ...
        seconds: Wall time by stage.
        environment: Versions, device, dtype, threads.
    """

    base_sha256: str
    held_out_before: HeldOutLoss
    held_out_after: HeldOutLoss
    held_out_reloaded: HeldOutLoss
    effect_nats: float | None
    loss_curve: tuple[float | None, ...]
    steps: int
    trained_tokens: int
    supervised_tokens: int
    trainable_parameters: int
    tokens_per_second: float | None
    peak_memory_bytes: int
    seconds: Mapping[str, float]
    environment: Mapping[str, str]
    evaluation: Evaluation | None = None
    held_out_replaced: HeldOutLoss | None = None
    replies: tuple[Replies, ...] = ()
    validation_curve: tuple[float | None, ...] = ()
    best_epoch: int = 0
    rehearsed_ids: tuple[str, ...] = ()
    recall: RecallReport | None = None
    unfit: tuple[Unfit, ...] = ()
    layers: AdaptedLayers | None = None
    base_parts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Check(Result):
    """One rule of the gate: the measured value, its limit, and what it was compared with."""

    name: str
    passed: bool
    value: float | None
    limit: float | None
    baseline: float | None
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict(Result):
    """The gate's word on a checkpoint: accepted or rejected, and by which checks."""

    status: str
    checks: tuple[Check, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class SleepCycle(Result):
    """A sleep cycle; metrics, verdict and error are None until there are any."""

    id: str
    instance: str
    number: int
    status: str
    trigger: str
    forced: bool
    decision: Decision
    plan: CyclePlan
    progress: Progress | None
    metrics: CycleMetrics | None
    verdict: Verdict | None
    error: CycleError | None
    checkpoint_id: str | None
    attempts: int
    created_at: datetime
    started_at: datetime | None
    heartbeat_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    woken_at: datetime | None = None

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
    """What a cycle would do now; `refused` is None if it would start.

    Attributes:
        set_aside: What of it its base cannot be given.
        error: What the cycle would fail with before it trains, or why nobody could look.
    """

    instance: str
    refused: Refusal | None
    decision: Decision
    experience_ids: tuple[str, ...]
    rehearsal_ids: tuple[str, ...]
    held_out_ids: tuple[str, ...]
    set_aside: tuple[Unfit, ...]
    error: CycleError | None
    plan: CyclePlan
    dry_run: bool = True


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
class JudgedCheck(Result):
    """One rule of the gate as a report tells it, in plain words."""

    name: str
    passed: bool
    value: float | None
    limit: float | None
    baseline: float | None
    words: str


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedFloor(Result):
    """What a category's floor came to, as a report tells it."""

    category: str
    met: bool
    text: str
    experience_ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class UsedExperience(Result):
    """An experience that a cycle used, never its text; `status` is the present one."""

    id: str
    role: str
    weight: float
    status: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CycleReport(Result):
    """What a cycle learned, what it kept, and what the gate said; no text of an experience."""

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
    checks: tuple[JudgedCheck, ...]
    replies: tuple[Replies, ...]
    loss_curve: tuple[float | None, ...]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    recipe: Recipe | None = None
    scale: float | None = None
    aliases: tuple[str, ...] = ()
    tainted_at: datetime | None = None
    regressed_at: datetime | None = None
    recall: RecallReport | None = None
    experiences: tuple[UsedExperience, ...] = ()
    set_aside: tuple[Unfit, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    floors: tuple[JudgedFloor, ...] = ()
    error: CycleError | None = None
    progress: Progress | None = None


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
    progress: Progress | None
    error: CycleError | None
    held_out_before: float | None
    held_out_after: float | None
