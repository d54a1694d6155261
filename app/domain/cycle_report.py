"""What a cycle's report says: the stored measurements put in order for a person.

A cycle may have ended before it measured anything, or an older version may have measured less: what
is not there is left out, and nothing is made up. Knows no HTML.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Annotated

from pydantic import Field

from app.domain.checkpoint import Alias
from app.domain.curation import LeftOut
from app.domain.decision import Trigger
from app.domain.experience import Unfit
from app.domain.gate import Verdict, VerdictStatus
from app.domain.measurement import Measurement
from app.domain.plan import CyclePlan
from app.domain.progress import CycleError, CycleStatus, Progress
from app.domain.provenance import UsedExperience
from app.domain.recall import RecallReport
from app.domain.recipe import Recipe
from app.domain.replies import ReplyMeasures
from app.domain.report import Evaluation, ProbeReply, Retention, TrainingReport

RETENTION_WORDS = {
    "general_loss": "loss on general replies, nats per token",
    "general_kl": "KL to the base on general replies, nats per token",
    "anchor_loss": "loss on the anchors, nats per token",
    "anchor_kl": "KL to the base on the anchors, nats per token",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One measure of the bare base, before and after the cycle; None where it was not taken."""

    name: str
    words: str
    base: float | None
    before: float | None
    after: float | None
    standard_error: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedCheck:
    """One rule of the gate with its numbers; None for one that is not finite."""

    name: str
    is_passed: Annotated[bool, Field(alias="passed")]
    value: float | None
    limit: float | None
    baseline: float | None
    words: str


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedFloor:
    """What a category's floor came to, in words, and what it brought in."""

    category: str
    is_met: Annotated[bool, Field(alias="met")]
    text: str
    experience_ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class CycleFindings:
    """What a cycle's measurements and verdict come to."""

    learned: tuple[Comparison, ...]
    kept: tuple[Comparison, ...]
    checks: tuple[JudgedCheck, ...]
    replies: tuple[ProbeReply, ...]
    loss_curve: tuple[float | None, ...]
    recall: RecallReport | None
    scale: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CycleReport(CycleFindings):
    """A cycle's report: what was learned, what was kept, and what the gate said.

    No text of an experience is in it. What survives an erasure: ids, weights, numbers, and replies
    that do not repeat the erased text.
    """

    id: str
    instance: str
    number: int
    status: CycleStatus
    trigger: Trigger
    summary: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    parent_checkpoint_id: str | None
    checkpoint_id: str | None
    aliases: tuple[str, ...]
    tainted_at: datetime | None
    regressed_at: datetime | None
    verdict: VerdictStatus | None
    experiences: tuple[UsedExperience, ...]
    set_aside: tuple[Unfit, ...]
    left_out: tuple[LeftOut, ...]
    floors: tuple[JudgedFloor, ...]
    recipe: Recipe
    error: CycleError | None
    progress: Progress | None


def find(metrics: TrainingReport | None, verdict: Verdict | None) -> CycleFindings:
    """Put measurements and verdict in order; both are None before they are made."""
    return CycleFindings(
        learned=tuple(_learned(metrics)) if metrics else (),
        kept=tuple(_kept(metrics.evaluation)) if metrics and metrics.evaluation else (),
        checks=tuple(
            JudgedCheck(
                name=check.name,
                is_passed=check.is_passed,
                value=_finite(check.value),
                limit=_finite(check.limit),
                baseline=_finite(check.baseline),
                words=check.text,
            )
            for check in (verdict.checks if verdict else ())
        ),
        replies=metrics.replies if metrics else (),
        loss_curve=tuple(map(_finite, metrics.loss_curve)) if metrics else (),
        recall=metrics.recall if metrics else None,
        scale=metrics.evaluation.scale if metrics and metrics.evaluation else None,
    )


def judge_floors(plan: CyclePlan) -> tuple[JudgedFloor, ...]:
    """What the floors of a cycle's plan came to."""
    return tuple(
        JudgedFloor(
            category=floor.category,
            is_met=floor.is_met,
            text=floor.text,
            experience_ids=floor.experience_ids,
        )
        for floor in plan.floors
    )


def summarise(
    *,
    number: int,
    status: CycleStatus,
    trigger: str,
    trained: int,
    aliases: Sequence[str],
    is_regressed: bool,
    failed_checks: Sequence[str],
    error: CycleError | None,
    progress: Progress | None,
) -> str:
    """What became of a cycle, in a sentence or two."""
    fate = _FATES.get(trigger, "Its experiences went back to the buffer, and nothing went live.")
    match status:
        case CycleStatus.QUEUED:
            return f"Cycle {number} waits for its turn; nothing was trained yet."
        case CycleStatus.TRAINING | CycleStatus.EVALUATING:
            stage = (progress.stage if progress else status).replace("_", " ")
            share = f", {progress.share:.0%}" if progress else ""
            return f"Cycle {number} is running: {stage}{share}. This report grows with it."
        case CycleStatus.SUCCEEDED:
            what = (
                "adopted a checkpoint of another machine"
                if trigger == Trigger.ADOPT
                else f"learned from {trained} experiences"
            )
            return f"Cycle {number} {what}. " + _place(aliases, is_regressed=is_regressed)
        case CycleStatus.REJECTED:
            why = "; ".join(failed_checks) or "the verdict names no check"
            return f"The gate rejected cycle {number}: {why}. {fate}"
        case CycleStatus.FAILED:
            return f"Cycle {number} failed: {error.message if error else 'no reason'} {fate}"
        case CycleStatus.CANCELLED:
            return f"Cycle {number} was cancelled. {fate}"


_FATES = {
    Trigger.REBUILD.value: "Its experiences stay consolidated.",
    Trigger.ADOPT.value: "Nothing went live.",
}


def _place(aliases: Sequence[str], *, is_regressed: bool) -> str:
    if is_regressed:
        return "Its checkpoint went live, and session reports took it back."
    if Alias.CURRENT in aliases:
        return "Its checkpoint is live."
    if Alias.CANDIDATE in aliases:
        return "Its checkpoint is a candidate and waits for a person to promote it."
    return "Its checkpoint was accepted and is no longer live."


def _learned(metrics: TrainingReport) -> Iterator[Comparison]:
    after = metrics.held_out_reloaded
    yield Comparison(
        name="held_out_loss",
        words=f"loss on {after.experiences} held-out experiences, nats per token",
        base=None,
        before=_finite(metrics.held_out_before.nats_per_token),
        after=_finite(after.nats_per_token),
        standard_error=_finite(after.standard_error),
    )
    if after.median_nats is not None:
        yield Comparison(
            name="held_out_median",
            words="the same by its median token, which no single word moves",
            base=None,
            before=_finite(metrics.held_out_before.median_nats),
            after=_finite(after.median_nats),
            standard_error=None,
        )
    if metrics.recall is not None and metrics.recall.statements:
        told = metrics.recall.statements
        yield Comparison(
            name="recall",
            words=f"of {len(told)} statements, recalled by a question that was not trained",
            base=None,
            before=sum(one.before for one in told) / len(told),
            after=sum(one.after for one in told) / len(told),
            standard_error=None,
        )
        yield Comparison(
            name="invention",
            words="of questions about what nobody told, answered as if somebody had",
            base=_finite(metrics.recall.invented_base),
            before=None,
            after=_finite(metrics.recall.invented_after),
            standard_error=None,
        )
    curve = [loss for loss in metrics.loss_curve if math.isfinite(loss)]
    if curve:
        yield Comparison(
            name="training_loss",
            words="training loss, first step and last, nats per token",
            base=None,
            before=curve[0],
            after=curve[-1],
            standard_error=None,
        )


def _kept(evaluation: Evaluation) -> Iterator[Comparison]:
    sides = (evaluation.base, evaluation.before, evaluation.after)
    yield from _compare(*(side.retention for side in sides))
    base, before, after = (side.session_retention for side in sides)
    if base is not None and before is not None and after is not None:
        for asked_bare in _compare(base, before, after):
            yield replace(
                asked_bare,
                name=f"session_{asked_bare.name}",
                words=f"{asked_bare.words}, asked as sessions ask",
            )
    yield from _compare(*(side.replies for side in sides))


def _compare(
    base: Retention | ReplyMeasures,
    before: Retention | ReplyMeasures,
    after: Retention | ReplyMeasures,
) -> Iterator[Comparison]:
    for name in (field.name for field in fields(after)):
        measured = getattr(after, name)
        if (value := _finite(measured)) is not None:
            yield Comparison(
                name=name,
                words=RETENTION_WORDS.get(name, f"replies: {name.replace('_', ' ')}"),
                base=_finite(getattr(base, name)),
                before=_finite(getattr(before, name)),
                after=value,
                standard_error=_finite(measured.standard_error)
                if isinstance(measured, Measurement)
                else None,
            )


def _finite(value: Measurement | float | None) -> float | None:
    """A number, or the value of a measurement; None where it is not finite."""
    if isinstance(value, Measurement):
        value = value.value
    return None if value is None or not math.isfinite(value) else float(value)
