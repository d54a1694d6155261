"""Whether an instance should sleep now, and which instances should."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import cache
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from app.db import checkpoints, instances, sleep_cycles
from app.db.engine import Database, defaults_of
from app.domain.checkpoint import Alias
from app.domain.decision import SleepDecision, SleepState, decide
from app.domain.experience import ExperienceStatus
from app.domain.policy import Promotion
from app.domain.progress import CycleStatus
from app.services.instances import EffectiveInstance, effective, load_effective

ENDED_BY_A_VERDICT = (CycleStatus.SUCCEEDED, CycleStatus.REJECTED)
"""States whose end starts the waiting interval: what failed or was cancelled was no sleep."""

ENDED = (*ENDED_BY_A_VERDICT, CycleStatus.FAILED, CycleStatus.CANCELLED)


def list_due(db: Database, *, slugs: Collection[str] | None, now: datetime) -> list[str]:
    """Slugs of the instances that should sleep now; of these, or of all.

    The database finds those whose buffer is heavy enough, in one query, so that a hundred thousand
    that sleep or idle cost next to nothing; the rules are then asked about the few. An instance
    whose settings cannot be used is listed too: asking for its cycle says what is wrong with it.
    """
    with db.read() as session:
        rows = instances.list_heavy(session, slugs=slugs)
        heavy = [effective(session, row) for row in rows]
        decisions = decide_many_within(session, heavy, now=now) if heavy else []
        return sorted(
            instance.row.slug
            for instance, decision in zip(heavy, decisions, strict=True)
            if decision.is_due or instance.faults
        )


def get_decision(db: Database, slug: str, *, now: datetime) -> SleepDecision:
    """Decide whether an instance should sleep now. Raises: InstanceNotFound."""
    with db.read() as session:
        return decide_within(session, load_effective(session, slug), now=now)


def decide_within(session: Session, instance: EffectiveInstance, *, now: datetime) -> SleepDecision:
    """The decision within a transaction of another service."""
    (decision,) = decide_many_within(session, [instance], now=now)
    return decision


def decide_many_within(
    session: Session, wanted: Sequence[EffectiveInstance], *, now: datetime
) -> list[SleepDecision]:
    """The decisions on some instances, in their order; as many queries as for one.

    Each base model among them is looked for once; a look at a directory, no file is read.
    """
    ids = [instance.row.id for instance in wanted]
    totals = instances.totals_by_status(session, ids)
    slept = sleep_cycles.last_ended_by_instance(session, ids, ENDED_BY_A_VERDICT)
    ended = sleep_cycles.last_ended_by_instance(session, ids, ENDED)
    failures = sleep_cycles.failures_by_instance(session, ids, since=ENDED_BY_A_VERDICT)
    active = sleep_cycles.active_by_instance(session, ids)
    manual = [item.row.id for item in wanted if item.policy.promotion is Promotion.MANUAL]
    proposed = (
        checkpoints.alias_targets_by_instance(session, manual, Alias.CANDIDATE) if manual else {}
    )
    find_base_fault = cache(defaults_of(session).find_base_fault)
    decisions: list[SleepDecision] = []
    for instance in wanted:
        buffered = totals[instance.row.id].get(ExperienceStatus.BUFFERED)
        last, newest = slept.get(instance.row.id), ended.get(instance.row.id)
        failed = failures.get(instance.row.id)
        was_cancelled = newest is not None and newest.status == CycleStatus.CANCELLED
        state = SleepState(
            now=now,
            local_time=now.astimezone(ZoneInfo(instance.timezone)).time(),
            mass=buffered.mass if buffered else 0.0,
            count=buffered.count if buffered else 0,
            last_cycle_ended_at=last.finished_at if last else None,
            last_exchange_at=instance.row.last_exchange_at,
            has_active_cycle=instance.row.id in active,
            has_candidate=instance.row.id in proposed,
            faults=instance.faults,
            base_fault=find_base_fault(instance.base_model),
            failures=failed.count if failed else 0,
            last_failed_at=failed.last_at if failed else None,
            cancelled_at=newest.finished_at if newest and was_cancelled else None,
        )
        decisions.append(decide(state, instance.policy))
    return decisions
