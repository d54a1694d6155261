"""Live regression: when what sessions report of the current checkpoint takes it back.

A pure function of the newest reports and the policy. A session has one voice, that of its last
report, however often it speaks. It does not know which checkpoint is meant, nor where a rollback
leads.
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
        session: Its name.
        token_id: Of the token that the report came with; None where none was demanded.
    """

    repetition_ratio: float
    score: float | None
    session: str = ""
    token_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Regression:
    """What the newest reports come to; `text` says it with its numbers.

    Attributes:
        sessions: Of the bad reports, newest first.
        token_ids: The tokens that these came with, each once.
    """

    is_regressed: bool
    bad: int
    considered: int
    text: str
    sessions: tuple[str, ...] = ()
    token_ids: tuple[str, ...] = ()


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
    """How many sessions' reports are looked at: never fewer than are needed to act."""
    return max(policy.regression_window, policy.regression_reports)


def judge_reports(newest_first: Sequence[SessionReport], policy: SleepPolicy) -> Regression:
    """Decide whether the reports of the current checkpoint take it back.

    Args:
        newest_first: The last report of each session since the checkpoint went live; the newest
            `count_considered(policy)` count.
        policy: Its `regression_reports` of 0 switches this off.
    """
    looked_at = newest_first[: count_considered(policy)]
    bad = [report for report in looked_at if find_faults(report, policy)]
    text = (
        f"the reports of {len(bad)} of the newest {len(looked_at)} sessions bad, "
        f"{policy.regression_reports} of {count_considered(policy)} take it back"
    )
    if bad:
        text += f"; the newest: {', '.join(find_faults(bad[0], policy))}"
    return Regression(
        is_regressed=0 < policy.regression_reports <= len(bad),
        bad=len(bad),
        considered=len(looked_at),
        text=text,
        sessions=tuple(report.session for report in bad),
        token_ids=tuple(dict.fromkeys(it.token_id for it in bad if it.token_id is not None)),
    )
