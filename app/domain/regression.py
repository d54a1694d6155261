"""Live regression: when what sessions report of the current checkpoint takes it back.

A pure function of the newest reports and the policy. It does not know which checkpoint is meant,
nor where a rollback leads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.policy import SleepPolicy


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionReport:
    """A session's own verdict on the replies it got.

    Attributes:
        repetition_ratio: Share of its replies that repeat themselves or another, 0..1.
        score: How good it found them, 0 (worst) to 1; None where it does not say.
    """

    repetition_ratio: float
    score: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Regression:
    """What the newest reports come to; `text` says it with its numbers."""

    is_regressed: bool
    bad: int
    considered: int
    text: str


def find_faults(report: SessionReport, policy: SleepPolicy) -> tuple[str, ...]:
    """What is bad about a report, in words; empty when nothing is."""
    faults = []
    if report.repetition_ratio > policy.max_repetition_ratio:
        faults.append(
            f"repetition {report.repetition_ratio:.2f}, at most {policy.max_repetition_ratio:.2f}"
        )
    if report.score is not None and report.score < policy.min_report_score:
        faults.append(f"score {report.score:.2f}, at least {policy.min_report_score:.2f}")
    return tuple(faults)


def count_considered(policy: SleepPolicy) -> int:
    """How many of the newest reports are looked at: never fewer than are needed to act."""
    return max(policy.regression_window, policy.regression_reports)


def judge_reports(newest_first: Sequence[SessionReport], policy: SleepPolicy) -> Regression:
    """Decide whether the reports of the current checkpoint take it back.

    Args:
        newest_first: Reports received since the checkpoint went live; the newest
            `count_considered(policy)` count.
        policy: Its `regression_reports` of 0 switches this off.
    """
    looked_at = newest_first[: count_considered(policy)]
    found = [faults for report in looked_at if (faults := find_faults(report, policy))]
    text = (
        f"{len(found)} of the newest {len(looked_at)} session reports bad, "
        f"{policy.regression_reports} of {count_considered(policy)} take it back"
    )
    if found:
        text += f"; the newest: {', '.join(found[0])}"
    return Regression(
        is_regressed=0 < policy.regression_reports <= len(found),
        bad=len(found),
        considered=len(looked_at),
        text=text,
    )
