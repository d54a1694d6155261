"""What a trainer measured: losses, general knowledge and replies, before and after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.domain.base_parts import BaseParts
from app.domain.experience import Unfit
from app.domain.layers import AdaptedLayers
from app.domain.measurement import Measurement
from app.domain.recall import RecallReport
from app.domain.replies import ReplyMeasures
from app.domain.stored import Figure


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOutLoss:
    """Loss over the held-out experiences, nats per supervised token.

    Attributes:
        nats_per_token: The mean.
        median_nats: The median, which a few tokens that nobody could guess do not move; None of
            cycles before it was measured.
    """

    nats_per_token: Figure
    tokens: int
    experiences: int
    standard_error: Figure = 0.0
    median_nats: Figure | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Retention:
    """What is left of the base model's general knowledge, nats per token, asked in one way.

    Attributes:
        anchor_loss: On the base's own replies to everyday prompts; training may rehearse them.
        anchor_kl: KL(base || model) on the same tokens.
        general_loss: On written replies to other everyday prompts; never trained on.
        general_kl: KL(base || model) on those.
    """

    anchor_loss: Measurement
    anchor_kl: Measurement
    general_loss: Measurement
    general_kl: Measurement


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelMeasures:
    """One model's general knowledge and replies.

    Attributes:
        retention: Asked bare, without a system prompt.
        session_retention: The same asked in session: under the sessions' own system prompts, half
            of it after an earlier exchange. None of cycles before it was measured.
    """

    retention: Retention
    replies: ReplyMeasures
    session_retention: Retention | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ScaleTrial:
    """What the adapter forgot at one scale of B; `failed` names the checks it did not pass."""

    scale: float
    held_out: HeldOutLoss
    retention: Retention
    failed: tuple[str, ...]
    session_retention: Retention | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """The measures that a cycle is judged by, besides held-out loss.

    Attributes:
        base: The bare base model: what everything is compared with.
        before: With the parent adapter; the base where there is none.
        after: With the published adapter, at its scale.
        held_out_gain: Held-out loss before less after, with the error of that difference.
        update_norm: The largest relative update of a layer in this cycle, at full scale; None of
            cycles before it was measured.
        scale: What B was multiplied by before it was saved.
        trials: Scales that were tried, in order.
    """

    base: ModelMeasures
    before: ModelMeasures
    after: ModelMeasures
    held_out_gain: Measurement
    update_norm: float | None = None
    scale: float
    trials: tuple[ScaleTrial, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeReply:
    """One greedy reply to a fixed prompt, by the model before and after the cycle."""

    prompt: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingReport:
    """What a trainer measured.

    Attributes:
        base_sha256: Fingerprint of the base model, all of its parts.
        base_parts: The same part by part; none of cycles before the fingerprint had parts.
        held_out_before: With the parent adapter, or the bare base.
        held_out_after: With the adapter in memory.
        held_out_reloaded: With the adapter read back from its files.
        held_out_replaced: With the adapter whose place this one would take, where it does not go on
            from that one.
        effect_nats: Mean absolute change, before to reloaded, of the held-out tokens'
            log-probabilities.
        evaluation: General knowledge and replies, of the base, before and after; None of cycles
            before they were measured.
        loss_curve: Training loss of every step, nats per supervised token, unweighted.
        validation_curve: Held-out loss after every epoch.
        best_epoch: The epoch whose adapter was kept, counted from 1.
        rehearsed_ids: What of the rehearsal pool was trained on.
        recall: What was dreamt of and what is recalled of it; None where the recipe asks for no
            dreams.
        unfit: What of the cycle's experiences could not be put before the model, and why.
        layers: Which of the base's linear layers the adapter changes; None of cycles before it was
            counted.
        trained_tokens: Tokens that went through forward and backward, without padding.
        supervised_tokens: Those of them on which loss was taken.
        seconds: Wall time by stage.
        environment: Versions, device, dtype, threads: what byte-equality depends on.
    """

    base_sha256: str
    held_out_before: HeldOutLoss
    held_out_after: HeldOutLoss
    held_out_reloaded: HeldOutLoss
    effect_nats: Figure
    evaluation: Evaluation | None = None
    loss_curve: tuple[Figure, ...]
    steps: int
    trained_tokens: int
    supervised_tokens: int
    trainable_parameters: int
    tokens_per_second: float
    peak_memory_bytes: int
    seconds: Mapping[str, float]
    environment: Mapping[str, str]
    held_out_replaced: HeldOutLoss | None = None
    replies: tuple[ProbeReply, ...] = ()
    validation_curve: tuple[Figure, ...] = ()
    best_epoch: int = 0
    rehearsed_ids: tuple[str, ...] = ()
    recall: RecallReport | None = None
    unfit: tuple[Unfit, ...] = ()
    layers: AdaptedLayers | None = None
    base_parts: BaseParts = field(default_factory=dict)

    @property
    def measures(self) -> Evaluation:
        """The evaluation, of a report that this version made. Raises: ValueError."""
        if self.evaluation is None:
            raise ValueError("a report of before general knowledge and replies were measured")
        return self.evaluation
