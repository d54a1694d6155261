"""Whether an instance should sleep now: a pure function of its state and its policy."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from app.domain.policy import Promotion, SleepPolicy
from app.domain.threshold import Threshold, adapt

MAX_BACKOFF_SECONDS = 24 * 3600.0
MAX_DOUBLINGS = 40
"""Beyond both nothing waits longer; the second only keeps the numbers small."""


class Trigger(StrEnum):
    """Who asked for a cycle."""

    SCHEDULE = "schedule"
    REQUEST = "request"
    REBUILD = "rebuild"
    ADOPT = "adopt"


SLEEPS = (Trigger.SCHEDULE, Trigger.REQUEST, Trigger.REBUILD)
"""Cycles that sleep: one that adopts trains nothing, and no rule of waiting counts it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SleepState:
    """What `decide` looks at, besides the policy.

    Attributes:
        now: Aware UTC.
        local_time: The same instant as a wall clock at the instance's place shows it.
        timezone: The place, as an IANA zone.
        waits_since: End of the last cycle that came to its verdict, or else the instance's making.
        rejections: Cycles in a row that the gate rejected.
        mass: Sum of `total` over buffered experiences that a cycle would train: without near
            copies, and without more of one prompt than it takes.
        count: How many those are.
        last_cycle_ended_at: End of the last cycle that came to its verdict: one that failed, or was
            cancelled, was no sleep.
        failures: Cycles that failed since then.
        last_failed_at: End of the last of them.
        cancelled_at: When the last cycle of all was cancelled; None if it was not.
        last_exchange_at: When the last exchange was received.
        has_active_cycle: A cycle of the instance is queued or running.
        has_candidate: An accepted checkpoint waits for a person.
        faults: What is wrong with settings of its own that cannot be used.
        base_fault: Why no cycle can start from its base model; None where it can.
    """

    now: datetime
    local_time: time
    mass: float
    count: int
    last_cycle_ended_at: datetime | None
    last_exchange_at: datetime | None
    has_active_cycle: bool
    has_candidate: bool = False
    faults: tuple[str, ...] = ()
    base_fault: str | None = None
    timezone: str = "UTC"
    waits_since: datetime | None = None
    rejections: int = 0
    failures: int = 0
    last_failed_at: datetime | None = None
    cancelled_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """One rule of the trigger with its numbers, in words."""

    rule: str
    is_met: Annotated[bool, Field(alias="met")]
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SleepDecision:
    """Whether a cycle is due, and every reason for or against."""

    is_due: Annotated[bool, Field(alias="due")]
    mass: float
    mass_threshold: float
    count: int
    reasons: tuple[Reason, ...]


def decide(state: SleepState, policy: SleepPolicy) -> SleepDecision:
    """Decide whether an instance should sleep now."""
    threshold = threshold_of(state, policy)
    reasons = (
        Reason(
            rule="no_active_cycle",
            is_met=not state.has_active_cycle,
            text="a cycle is queued or running" if state.has_active_cycle else "no cycle running",
        ),
        Reason(
            rule="mass",
            is_met=state.mass >= threshold.mass,
            text=f"mass {state.mass:.1f} of {threshold.mass:.1f}"
            + (f" ({threshold.why})" if threshold.why else ""),
        ),
        Reason(
            rule="experiences",
            is_met=state.count >= policy.min_experiences,
            text=f"{state.count} experiences, minimum {policy.min_experiences}",
        ),
        _interval_reason(state, policy),
        *_failure_reasons(state, policy),
        *_cancel_reasons(state, policy),
        _idle_reason(state, policy),
        _quiet_reason(state, policy),
        *_candidate_reasons(state, policy),
        *(Reason(rule="settings", is_met=False, text=fault) for fault in state.faults),
        *_base_reasons(state),
    )
    return SleepDecision(
        is_due=all(reason.is_met for reason in reasons),
        mass=state.mass,
        mass_threshold=threshold.mass,
        count=state.count,
        reasons=reasons,
    )


def threshold_of(state: SleepState, policy: SleepPolicy) -> Threshold:
    """The mass at which sleep is due, with what adapted it."""
    if not policy.adaptive_threshold:
        return Threshold(mass=policy.mass_threshold)
    waited = (state.now - state.waits_since).total_seconds() if state.waits_since else 0.0
    return adapt(policy.mass_threshold, waited_seconds=waited, rejections=state.rejections)


def _interval_reason(state: SleepState, policy: SleepPolicy) -> Reason:
    if state.last_cycle_ended_at is None:
        return Reason(rule="interval", is_met=True, text="no cycle yet")
    elapsed = (state.now - state.last_cycle_ended_at).total_seconds()
    # A clock that jumped back must not hold sleep off for longer than the interval itself.
    is_met = elapsed >= policy.min_interval_seconds or elapsed < 0
    return Reason(
        rule="interval",
        is_met=is_met,
        text=f"last cycle {in_words(elapsed)} ago, minimum {in_words(policy.min_interval_seconds)}",
    )


def _failure_reasons(state: SleepState, policy: SleepPolicy) -> tuple[Reason, ...]:
    """What failed may fail again, so each time it waits twice as long, up to a day."""
    if not state.failures or state.last_failed_at is None:
        return ()
    doublings = min(state.failures - 1, MAX_DOUBLINGS)
    wait = min(policy.failure_backoff_seconds * 2**doublings, MAX_BACKOFF_SECONDS)
    elapsed = (state.now - state.last_failed_at).total_seconds()
    cycles = "cycle" if state.failures == 1 else "cycles in a row"
    text = f"{state.failures} failed {cycles}, the last {in_words(elapsed)} ago"
    is_met = elapsed >= wait or elapsed < 0
    return (Reason(rule="failures", is_met=is_met, text=f"{text}; again after {in_words(wait)}"),)


def _cancel_reasons(state: SleepState, policy: SleepPolicy) -> tuple[Reason, ...]:
    """Who cancelled a cycle wanted none now; the next look must not start it again."""
    if state.cancelled_at is None:
        return ()
    elapsed = (state.now - state.cancelled_at).total_seconds()
    return (
        Reason(
            rule="cancelled",
            is_met=elapsed >= policy.cancel_pause_seconds or elapsed < 0,
            text=f"the last cycle was cancelled {in_words(elapsed)} ago; by itself again after "
            f"{in_words(policy.cancel_pause_seconds)}",
        ),
    )


def _idle_reason(state: SleepState, policy: SleepPolicy) -> Reason:
    if state.last_exchange_at is None:
        return Reason(rule="idle", is_met=True, text="no exchange yet")
    elapsed = (state.now - state.last_exchange_at).total_seconds()
    is_met = elapsed >= policy.idle_seconds or elapsed < 0
    word = "idle for" if is_met else "active"
    tail = "" if is_met else f" ago, idle after {in_words(policy.idle_seconds)}"
    return Reason(rule="idle", is_met=is_met, text=f"session {word} {in_words(elapsed)}{tail}")


def _quiet_reason(state: SleepState, policy: SleepPolicy) -> Reason:
    if policy.quiet_hours is None:
        return Reason(rule="quiet_hours", is_met=True, text="no quiet hours")
    is_quiet = policy.quiet_hours.contains(state.local_time)
    where = "within" if is_quiet else "outside"
    return Reason(
        rule="quiet_hours",
        is_met=not is_quiet,
        text=f"{state.local_time:%H:%M} {state.timezone} is {where} quiet hours "
        f"{policy.quiet_hours}",
    )


def _candidate_reasons(state: SleepState, policy: SleepPolicy) -> tuple[Reason, ...]:
    """Under manual promotion the next cycle would start from the same adapter as the last one."""
    if policy.promotion is not Promotion.MANUAL:
        return ()
    text = (
        "a candidate waits to be promoted or dismissed" if state.has_candidate else "no candidate"
    )
    return (Reason(rule="candidate", is_met=not state.has_candidate, text=text),)


def _base_reasons(state: SleepState) -> tuple[Reason, ...]:
    if state.base_fault is None:
        return ()
    return (Reason(rule="base_model", is_met=False, text=state.base_fault),)


def in_words(seconds: float) -> str:
    """A duration as people say it: `20 s`, `2 h 10 min`, `3 d 4 h`."""
    whole = max(0, round(seconds))
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, secs = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (secs, "s")]
    shown = [f"{value} {unit}" for value, unit in parts if value][:2]
    return " ".join(shown) or "0 s"
