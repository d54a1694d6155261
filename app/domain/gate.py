"""The gate between training and promotion: a pure function of a report; long by words of limits.

The verdict names every check with its value and its limit, so that a rejection explains itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass as plain_dataclass
from dataclasses import replace
from enum import StrEnum
from typing import Annotated

from pydantic import Field, FiniteFloat
from pydantic.dataclasses import dataclass

from app.domain.declared import DECLARED, Listed, Share
from app.domain.experience import CycleRole
from app.domain.measurement import Measurement
from app.domain.recall import RecallReport
from app.domain.replies import ReplyMeasures
from app.domain.report import HeldOutLoss, Retention, TrainingReport
from app.domain.stored import Figure

MIN_EARLIER = 4
"""Statements of earlier cycles: of fewer, one more or less is as much as the limit."""

Nats = Annotated[FiniteFloat, Field(ge=0)]


@dataclass(frozen=True, kw_only=True, slots=True, config=DECLARED)
class GatePolicy:
    """What a checkpoint may and may not do; the settings name each with `SAGE_GATE_` before it.

    Every `_rise` and `_fall` is a distance from the bare base model's own value. What the limits
    were set by, on SmolLM2-135M-Instruct, stands in the guide, `app/web/guide/recipe.md`.

    Attributes:
        held_out_tolerance: bf16 rounding alone moves the mean over a dozen replies by up to 0.0055.
        held_out_median_tolerance: A guess: twice the error that the median has by the choice of
            replies where a training hardly moved anything. It fell in every training measured.
        replaced_tolerance: A guess: half of what ten slices gained by it
            (`SleepPolicy.rebuild_every_cycles`).
        reload_tolerance: It was equal to the last bit in every run.
        update_norm: Measured on the adapter as it was trained, since a quarter of a training that
            went wrong is not a small training that went well.
        broken_kl: As with `update_norm`, a quarter of it is no small training that went well.
    """

    held_out_tolerance: Annotated[
        Nats, Field(description="Held-out loss may rise by this, nats per token.")
    ] = 5e-3
    held_out_median_tolerance: Annotated[
        Nats,
        Field(
            description="The same by its median token, which a few tokens that nobody could guess "
            "do not move."
        ),
    ] = 0.05
    replaced_tolerance: Annotated[
        Nats,
        Field(
            description="Held-out loss of an adapter that was made anew may be higher by this than "
            "that of the adapter whose place it takes, nats per token."
        ),
    ] = 0.04
    inert_limit: Annotated[
        Nats,
        Field(
            description="An adapter that moves the held-out tokens' log-probabilities by less than "
            "this on average has taught nothing."
        ),
    ] = 5e-3
    reload_tolerance: Annotated[
        Nats,
        Field(
            description="The adapter read back from disk in a fresh model must give the loss of "
            "the one in memory to this precision, nats."
        ),
    ] = 1e-3
    general_kl: Annotated[
        Nats,
        Field(
            description="KL(base || adapter) per token on general replies that were not trained on."
        ),
    ] = 0.1
    general_loss_rise: Annotated[
        Nats, Field(description="How far the loss on them may rise, nats per token.")
    ] = 0.05
    anchor_kl: Annotated[Nats, Field(description="As general_kl, on the anchors.")] = 0.1
    repetition_rise: Annotated[Share, Field(description="Of repeated 5-grams.")] = 0.06
    looping_rise: Annotated[
        Share, Field(description="Of replies with a 5-gram three times or more.")
    ] = 0.1
    distinct_fall: Annotated[Share, Field(description="Of distinct word pairs per word pair.")] = (
        0.2
    )
    similar_pairs_rise: Annotated[
        Share, Field(description="Of pairs of replies to different prompts that are alike.")
    ] = 0.1
    question_floods_rise: Annotated[
        Share, Field(description="Of replies that are little but questions.")
    ] = 0.25
    copies_rise: Annotated[
        Share, Field(description="Of replies with a run of words of a training reply.")
    ] = 0.15
    disclaimers_rise: Annotated[
        Share, Field(description='Of replies with "as an AI" and its like.')
    ] = 0.2
    self_references_fall: Annotated[
        Share, Field(description="Of replies in which the speaker names itself as the instance.")
    ] = 0.35
    ended_fall: Annotated[
        Share,
        Field(
            description="Of replies to questions of a short answer that end by themselves within "
            "40 tokens."
        ),
    ] = 0.2
    recall_fall: Annotated[
        Share,
        Field(
            description="Of what earlier cycles were told and this one rehearses: how much less of "
            "it may be recalled than before. Judged where 4 or more of it are asked for."
        ),
    ] = 0.34
    invention_rise: Annotated[
        Share,
        Field(
            description="Of questions about what nobody told: how many more may be answered as if "
            "somebody had. Judged where a cycle dreams."
        ),
    ] = 0.25
    scales: Annotated[
        tuple[Annotated[FiniteFloat, Field(gt=0, le=1)], ...],
        Listed(min_length=1),
        Field(description="Of the adapter, tried in turn before it is rejected for forgetting."),
    ] = (1.0, 0.75, 0.5, 0.25)
    update_norm: Annotated[
        FiniteFloat,
        Field(
            ge=0,
            description="How far one cycle may move any layer, against the layer's own largest "
            "singular value.",
        ),
    ] = 0.15
    broken_kl: Annotated[
        Nats,
        Field(description="Beyond this KL on general replies at full scale no smaller is tried."),
    ] = 0.4


class VerdictStatus(StrEnum):
    """Whether a checkpoint may be promoted."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"

    @classmethod
    def _missing_(cls, value: object) -> VerdictStatus | None:
        return cls.REJECTED if value == "refused" else None  # as it was stored until 0.1


@plain_dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One rule of the gate: the measured value, its limit, and what it was compared with."""

    name: str
    is_passed: Annotated[bool, Field(alias="passed")]
    value: Figure
    limit: Figure
    baseline: float | None
    text: str


@plain_dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The gate's word on a checkpoint."""

    status: VerdictStatus
    checks: tuple[Check, ...]

    @property
    def is_accepted(self) -> bool:
        """Whether the checkpoint may be promoted without force."""
        return self.status is VerdictStatus.ACCEPTED

    @property
    def failed(self) -> tuple[str, ...]:
        """The checks that were not passed, in words."""
        return tuple(check.text for check in self.checks if not check.is_passed)


def judge(report: TrainingReport, policy: GatePolicy) -> Verdict:
    """Accept a checkpoint that learned, kept what the base knew and did not collapse.

    With nothing to measure on there is nothing to accept.

    Raises: ValueError for a report that an older version made; it was judged then.
    """
    evaluation = report.measures
    checks = (
        _held_out_tokens(report.held_out_reloaded),
        *held_out_checks(report.held_out_before, report.held_out_reloaded, policy),
        *_replaced(report, policy),
        _reload(report, policy),
        _at_least(
            name="inertness",
            value=report.effect_nats,
            limit=policy.inert_limit,
            baseline=0.0,
            text=f"held-out log-probabilities moved by {report.effect_nats:.4f} nats on average",
        ),
        update_check(evaluation.update_norm, policy),
        *retention_checks(evaluation.base.retention, evaluation.after.retention, policy),
        *session_retention_checks(
            evaluation.base.session_retention, evaluation.after.session_retention, policy
        ),
        *reply_checks(evaluation.base.replies, evaluation.after.replies, policy),
        *_recall(report.recall, policy),
        *_invention(report.recall, policy),
    )
    is_accepted = all(check.is_passed for check in checks)
    status = VerdictStatus.ACCEPTED if is_accepted else VerdictStatus.REJECTED
    return Verdict(status=status, checks=checks)


def held_out_checks(
    before: HeldOutLoss, after: HeldOutLoss, policy: GatePolicy
) -> tuple[Check, ...]:
    """Held-out loss must not rise: neither its mean nor, where both were measured, its median."""
    first, second = before.nats_per_token, after.nats_per_token
    mean = _at_most(
        name="held_out_loss",
        value=second,
        limit=first + policy.held_out_tolerance,
        baseline=first,
        text=f"held-out loss {first:.3f} -> {second:.3f} nats per token",
    )
    first_median, median = before.median_nats, after.median_nats
    if first_median is None or median is None or after.tokens == 0:
        return (mean,)
    return (
        mean,
        _at_most(
            name="held_out_median",
            value=median,
            limit=first_median + policy.held_out_median_tolerance,
            baseline=first_median,
            text=f"the same by its median token {first_median:.3f} -> {median:.3f} nats",
        ),
    )


def update_check(update_norm: float | None, policy: GatePolicy) -> Check:
    """No layer may have moved so far that it is hardly the base's any more."""
    value = math.nan if update_norm is None else update_norm
    return _at_most(
        name="update_norm",
        value=value,
        limit=policy.update_norm,
        baseline=0.0,
        text=f"a layer moved by {value:.3f} of its own largest singular value in one cycle",
    )


def retention_checks(base: Retention, after: Retention, policy: GatePolicy) -> tuple[Check, ...]:
    """Whether the model still knows what its base knew."""
    loss, base_loss = after.general_loss, base.general_loss.value
    return (
        _at_most(
            name="general_kl",
            value=after.general_kl.value,
            limit=policy.general_kl,
            baseline=0.0,
            text=f"KL to the base on general replies {_shown(after.general_kl)} nats per token",
        ),
        _at_most(
            name="general_loss",
            value=loss.value,
            limit=base_loss + policy.general_loss_rise,
            baseline=base_loss,
            text=f"loss on general replies {base_loss:.3f} in the base, {_shown(loss)} now",
        ),
        _at_most(
            name="anchor_kl",
            value=after.anchor_kl.value,
            limit=policy.anchor_kl,
            baseline=0.0,
            text=f"KL to the base on anchors {_shown(after.anchor_kl)} nats per token",
        ),
    )


def session_retention_checks(
    base: Retention | None, after: Retention | None, policy: GatePolicy
) -> tuple[Check, ...]:
    """The same where the model lives: asked as the instance's sessions ask; none where it was not.

    An adapter that keeps the bare base's knowledge may lose it under the prompt that it was trained
    under.
    """
    if base is None or after is None:
        return ()
    return tuple(
        replace(check, name=f"session_{check.name}", text=f"asked as sessions ask: {check.text}")
        for check in retention_checks(base, after, policy)
    )


def invention_check(base: float, after: float, policy: GatePolicy) -> Check:
    """What is asked for in vain must not be answered with something made up."""
    return _at_most(
        name="invention",
        value=after,
        limit=base + policy.invention_rise,
        baseline=base,
        text=f"{base:.2f} of questions about what nobody told answered as if somebody had by "
        f"the base, {after:.2f} now",
    )


def reply_checks(
    base: ReplyMeasures, after: ReplyMeasures, policy: GatePolicy
) -> tuple[Check, ...]:
    """Whether the model still answers as one that has not collapsed and knows who it is."""
    risen = (
        ("repetition", "repeated_ngrams", policy.repetition_rise, "repeated 5-grams"),
        ("looping", "looping", policy.looping_rise, "replies that say a phrase three times"),
        ("similar_pairs", "similar_pairs", policy.similar_pairs_rise, "pairs of like replies"),
        ("question_floods", "question_floods", policy.question_floods_rise, "floods of questions"),
        ("copies", "copies", policy.copies_rise, "replies that copy a training reply"),
        ("disclaimers", "disclaimers", policy.disclaimers_rise, "replies with 'as an AI'"),
    )
    fallen = (
        ("distinct", "distinct_2", policy.distinct_fall, "distinct word pairs"),
        (
            "self_reference",
            "self_references",
            policy.self_references_fall,
            "replies that name the instance as the speaker",
        ),
    )
    checks = []
    for name, measure, distance, words in risen:
        baseline, value = getattr(base, measure).value, getattr(after, measure)
        text = f"{words}: {baseline:.3f} in the base, {_shown(value)} now"
        limit = baseline + distance
        checks.append(
            _at_most(name=name, value=value.value, limit=limit, baseline=baseline, text=text)
        )
    for name, measure, distance, words in fallen:
        baseline, value = getattr(base, measure).value, getattr(after, measure)
        text = f"{words}: {baseline:.3f} in the base, {_shown(value)} now"
        limit = baseline - distance
        checks.append(
            _at_least(name=name, value=value.value, limit=limit, baseline=baseline, text=text)
        )
    return (*checks, *_endings(base, after, policy))


def _endings(base: ReplyMeasures, after: ReplyMeasures, policy: GatePolicy) -> tuple[Check, ...]:
    """What was only ever shown replies without an end never comes to one."""
    if base.ended is None or after.ended is None:
        return ()
    baseline = base.ended.value
    return (
        _at_least(
            name="endings",
            value=after.ended.value,
            limit=baseline - policy.ended_fall,
            baseline=baseline,
            text=f"short replies that end by themselves: {baseline:.3f} in the base, "
            f"{_shown(after.ended)} now",
        ),
    )


def _held_out_tokens(measured: HeldOutLoss) -> Check:
    return _at_least(
        name="held_out_tokens",
        value=measured.tokens,
        limit=1.0,
        baseline=None,
        text=f"measured on {measured.tokens} held-out tokens",
    )


def _replaced(report: TrainingReport, policy: GatePolicy) -> tuple[Check, ...]:
    """An adapter made anew must know what the one before it knew."""
    if report.held_out_replaced is None:
        return ()
    replaced, after = (
        report.held_out_replaced.nats_per_token,
        report.held_out_reloaded.nats_per_token,
    )
    return (
        _at_most(
            name="replaced_held_out_loss",
            value=after,
            limit=replaced + policy.replaced_tolerance,
            baseline=replaced,
            text=f"held-out loss {replaced:.3f} with the adapter it takes the place of, "
            f"{after:.3f} now",
        ),
    )


def _recall(recall: RecallReport | None, policy: GatePolicy) -> tuple[Check, ...]:
    """What earlier cycles were told must not be lost over what this one is told."""
    earlier = recall.of(CycleRole.REHEARSAL) if recall else ()
    if len(earlier) < MIN_EARLIER:
        return ()
    before = sum(one.before for one in earlier) / len(earlier)
    after = sum(one.after for one in earlier) / len(earlier)
    return (
        _at_least(
            name="earlier_recall",
            value=after,
            limit=before - policy.recall_fall,
            baseline=before,
            text=f"of {len(earlier)} statements of earlier cycles {before:.2f} recalled before, "
            f"{after:.2f} now",
        ),
    )


def _invention(recall: RecallReport | None, policy: GatePolicy) -> tuple[Check, ...]:
    if recall is None or math.isnan(recall.invented_after):
        return ()
    return (invention_check(recall.invented_base, recall.invented_after, policy),)


def _reload(report: TrainingReport, policy: GatePolicy) -> Check:
    after = report.held_out_reloaded.nats_per_token
    memory = report.held_out_after.nats_per_token
    return _at_most(
        name="reload",
        value=abs(after - memory),
        limit=policy.reload_tolerance,
        baseline=memory,
        text=f"loss {after:.4f} from the files in a fresh model, {memory:.4f} in memory",
    )


def _at_most(*, name: str, value: float, limit: float, baseline: float, text: str) -> Check:
    """A check that passes at or below its limit; a value that is no number fails."""
    is_passed = math.isfinite(value) and value <= limit
    return Check(
        name=name, is_passed=is_passed, value=value, limit=limit, baseline=baseline, text=text
    )


def _at_least(*, name: str, value: float, limit: float, baseline: float | None, text: str) -> Check:
    """A check that passes at or above its limit; a value that is no number fails."""
    is_passed = math.isfinite(value) and value >= limit
    return Check(
        name=name, is_passed=is_passed, value=value, limit=limit, baseline=baseline, text=text
    )


def _shown(measurement: Measurement) -> str:
    error = measurement.standard_error
    return f"{measurement.value:.3f} ± {f'{error:.3f}' if math.isfinite(error) else 'unknown'}"
