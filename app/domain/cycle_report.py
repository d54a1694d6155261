"""What a cycle's report says: the stored measurements put in order for a person.

Measurements are JSON by now, perhaps written by an older version, and a cycle may have ended before
it measured anything: what is not there is left out, and nothing is made up. Knows no HTML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.checkpoint import Alias
from app.domain.decision import Trigger
from app.domain.progress import CycleStatus

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
    """One rule of the gate with its numbers."""

    name: str
    passed: bool
    value: float | None
    limit: float | None
    baseline: float | None
    words: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RepliesSideBySide:
    """What the model said to a prompt before and after."""

    prompt: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True, slots=True)
class VariationsOfKind:
    """What was trained on beside the experiences; `refused` counts reasons."""

    kind: str
    made: int
    kept: int
    refused: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class CycleFindings:
    """What a cycle's measurements and verdict come to."""

    learned: tuple[Comparison, ...]
    kept: tuple[Comparison, ...]
    checks: tuple[JudgedCheck, ...]
    replies: tuple[RepliesSideBySide, ...]
    loss_curve: tuple[float | None, ...]
    variations: tuple[VariationsOfKind, ...]
    scale: float | None


def find(metrics: Mapping[str, Any] | None, verdict: Mapping[str, Any] | None) -> CycleFindings:
    """Put stored measurements and verdict in order; both are None before they are made."""
    measured = metrics or {}
    evaluation = _mapping(measured.get("evaluation"))
    return CycleFindings(
        learned=_learned(measured),
        kept=(*_compare(evaluation, "retention"), *_compare(evaluation, "replies")),
        checks=tuple(_check(check) for check in (verdict or {}).get("checks", ())),
        replies=tuple(
            RepliesSideBySide(
                prompt=str(reply.get("prompt", "")),
                before=str(reply.get("before", "")),
                after=str(reply.get("after", "")),
            )
            for reply in measured.get("replies", ())
        ),
        loss_curve=tuple(_number(loss) for loss in measured.get("loss_curve", ())),
        variations=tuple(
            VariationsOfKind(
                kind=str(count.get("kind", "")),
                made=int(count.get("made", 0)),
                kept=int(count.get("kept", 0)),
                refused=_mapping(count.get("refused")),
            )
            for count in _mapping(measured.get("variations")).get("counts", ())
        ),
        scale=_number(evaluation.get("scale")),
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
    error: Mapping[str, Any] | None,
    progress: Mapping[str, Any] | None,
) -> str:
    """What became of a cycle, in a sentence or two."""
    fate = (
        "Its experiences stay consolidated."
        if trigger == Trigger.REBUILD
        else "Its experiences went back to the buffer, and nothing went live."
    )
    match status:
        case CycleStatus.QUEUED:
            return f"Cycle {number} waits for its turn; nothing was trained yet."
        case CycleStatus.TRAINING | CycleStatus.EVALUATING:
            found = progress or {}
            stage = str(found.get("stage", status.value)).replace("_", " ")
            return (
                f"Cycle {number} is running: {stage}, step {found.get('step', 0)} of "
                f"{found.get('total_steps', 0)}. This report grows with it."
            )
        case CycleStatus.SUCCEEDED:
            return f"Cycle {number} learned from {trained} experiences. " + _place(
                aliases, is_regressed=is_regressed
            )
        case CycleStatus.REJECTED:
            why = "; ".join(failed_checks) or "the verdict names no check"
            return f"The gate refused cycle {number}: {why}. {fate}"
        case CycleStatus.FAILED:
            return f"Cycle {number} failed: {(error or {}).get('message', 'no reason')} {fate}"
        case CycleStatus.CANCELLED:
            return f"Cycle {number} was cancelled. {fate}"


def _place(aliases: Sequence[str], *, is_regressed: bool) -> str:
    if is_regressed:
        return "Its checkpoint went live, and session reports took it back."
    if Alias.CURRENT in aliases:
        return "Its checkpoint is live."
    if Alias.CANDIDATE in aliases:
        return "Its checkpoint is a candidate and waits for a person to promote it."
    return "Its checkpoint was accepted and is no longer live."


def _learned(measured: Mapping[str, Any]) -> tuple[Comparison, ...]:
    before = _mapping(measured.get("held_out_before"))
    after = _mapping(measured.get("held_out_reloaded") or measured.get("held_out_after"))
    rows = []
    if after:
        rows.append(
            Comparison(
                name="held_out_loss",
                words=f"loss on {after.get('experiences', 0)} held-out experiences, nats per token",
                base=None,
                before=_number(before.get("nats_per_token")),
                after=_number(after.get("nats_per_token")),
                standard_error=_number(after.get("standard_error")),
            )
        )
    curve = [loss for item in measured.get("loss_curve", ()) if (loss := _number(item)) is not None]
    if curve:
        rows.append(
            Comparison(
                name="training_loss",
                words="training loss, first step and last, nats per token",
                base=None,
                before=curve[0],
                after=curve[-1],
                standard_error=None,
            )
        )
    return tuple(rows)


def _compare(evaluation: Mapping[str, Any], group: str) -> tuple[Comparison, ...]:
    sides = {
        side: _mapping(_mapping(evaluation.get(side)).get(group))
        for side in ("base", "before", "after")
    }
    return tuple(
        Comparison(
            name=name,
            words=RETENTION_WORDS.get(name, f"replies: {name.replace('_', ' ')}"),
            base=_number(sides["base"].get(name)),
            before=_number(sides["before"].get(name)),
            after=_number(value),
            standard_error=_number(_mapping(value).get("standard_error")),
        )
        for name, value in sides["after"].items()
        if _number(value) is not None
    )


def _check(stored: Mapping[str, Any]) -> JudgedCheck:
    return JudgedCheck(
        name=str(stored.get("name", "")),
        passed=bool(stored.get("passed")),
        value=_number(stored.get("value")),
        limit=_number(stored.get("limit")),
        baseline=_number(stored.get("baseline")),
        words=str(stored.get("words") or stored.get("text") or ""),
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: Any) -> float | None:
    """A number, or the value of a measurement with its error."""
    if isinstance(value, Mapping):
        value = value.get("value")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < float("inf") else None
