"""Whether an instance should sleep now, and which instances should.

Mass and count are of what a cycle would train, so the texts of what waits must be compared. That
takes up to 0.1 s for an instance, and most instances are looked at each minute for nothing: so the
scheduler compares only where all else says that sleep is due, what was found is remembered for as
long as nothing came or went, and a page of many instances compares no more than `MAX_COMPARED`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from app.db import checkpoints, instances, sleep_cycles
from app.db.engine import Database, defaults_of, idle_memory_of, translated_in
from app.db.tables import StatusTotalsRow
from app.domain.checkpoint import Alias
from app.domain.decision import SLEEPS, SleepDecision, SleepState, decide, threshold_of
from app.domain.experience import ExperienceStatus
from app.domain.policy import Promotion
from app.domain.progress import CycleStatus
from app.domain.traits import CurationRules
from app.errors import DatabaseCorrupt
from app.services.instances import EffectiveInstance, effective, load_effective
from app.services.planning import Glance, glance_within, idle_of

Totals = Mapping[int, Mapping[str, StatusTotalsRow]]
"""By instance and status."""

ENDED_BY_A_VERDICT = (CycleStatus.SUCCEEDED, CycleStatus.REJECTED)
"""States whose end starts the waiting interval: what failed or was cancelled was no sleep."""

MAX_COMPARED = 4096
"""Experiences whose texts are read for one page of decisions; of the rest all that waits counts. As
many as a cycle may take, some 0.4 s."""

ENDED = (*ENDED_BY_A_VERDICT, CycleStatus.FAILED, CycleStatus.CANCELLED)


def list_due(db: Database, *, slugs: Collection[str] | None, now: datetime) -> list[str]:
    """Slugs of the instances that should sleep now; of these, or of all.

    The database finds those whose buffer is heavy enough, in one query, so that a hundred thousand
    that sleep or idle cost next to nothing; the rules are then asked about the few, and texts are
    compared of those alone that would sleep if all of it counted. An instance
    whose settings cannot be used is listed too: asking for its cycle says what is wrong with it.
    """
    with db.read() as session:
        rows = instances.list_heavy(session, slugs=slugs)
        heavy = [effective(session, row) for row in rows]
        waiting = _look(session, heavy, now=now) if heavy else []
        return sorted(
            each.instance.row.slug
            for each in waiting
            if each.instance.faults
            or (
                decide(each.state, each.instance.policy).is_due
                and each.without_idle(session).is_due
            )
        )


def get_decision(db: Database, slug: str, *, now: datetime) -> SleepDecision:
    """Decide whether an instance should sleep now. Raises: InstanceNotFound."""
    with db.read() as session:
        return decide_within(session, load_effective(session, slug), now=now)


def decide_within(
    session: Session,
    instance: EffectiveInstance,
    *,
    now: datetime,
    glance: Glance | None = None,
) -> SleepDecision:
    """The decision within a transaction of another service.

    Args:
        glance: At the pool as it is, by the instance's own limits; else one is taken.
    """
    (waiting,) = _look(session, [instance], now=now)
    return waiting.without_idle(session, glance)


def decide_at_most_within(
    session: Session, instance: EffectiveInstance, *, now: datetime
) -> SleepDecision:
    """The decision as if all that waits were trained; no text is read, and due means perhaps."""
    (waiting,) = _look(session, [instance], now=now)
    return decide(waiting.state, instance.policy)


def decide_many_within(
    session: Session, wanted: Sequence[EffectiveInstance], *, now: datetime
) -> list[SleepDecision]:
    """The decisions on some instances, in their order."""
    waiting = _look(session, wanted, now=now)
    weighed = _weigh(session, [each.pool for each in waiting])
    return [each.decide_on(one) for each, one in zip(waiting, weighed, strict=True)]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pool:
    """What waits in an instance, and what its part that would be trained depends on."""

    instance: EffectiveInstance
    count: int
    mass: float
    depends_on: tuple[object, ...]

    def is_remembered(self, session: Session) -> bool:
        """Whether the texts need not be read."""
        known = idle_memory_of(session).get(self.instance.row.id)
        return known is not None and known[0] == self.depends_on

    def weigh(self, session: Session, glance: Glance | None = None) -> tuple[int, float]:
        """Count and mass of what would be trained."""
        if not self.count or self.instance.faults:
            return self.count, self.mass
        memory = idle_memory_of(session)
        if not self.is_remembered(session):
            try:
                with translated_in(session):
                    seen = glance or glance_within(session, self.instance)
            except DatabaseCorrupt:  # of all that can still be read, something is said
                return self.count, self.mass
            memory[self.instance.row.id] = (self.depends_on, idle_of(seen))
        count, mass = memory[self.instance.row.id][1]
        return max(0, self.count - count), round(max(0.0, self.mass - mass), 9)


def weigh_many_within(
    session: Session, wanted: Sequence[EffectiveInstance], totals: Totals
) -> list[float]:
    """Mass of what would be trained of some instances, as their decisions have it."""
    return [mass for _, mass in _weigh(session, [_pool(item, totals) for item in wanted])]


def list_thresholds_within(
    session: Session, wanted: Sequence[EffectiveInstance], *, now: datetime
) -> list[float]:
    """The mass at which each would sleep; nothing is asked of those that keep to their policy's."""
    adaptive = [item for item in wanted if item.policy.adaptive_threshold]
    looked = {each.instance.row.id: each.state for each in _look(session, adaptive, now=now)}
    return [
        threshold_of(looked[item.row.id], item.policy).mass
        if item.policy.adaptive_threshold
        else item.policy.mass_threshold
        for item in wanted
    ]


def _weigh(session: Session, pools: Sequence[_Pool]) -> list[tuple[int, float]]:
    left = MAX_COMPARED
    found: list[tuple[int, float]] = []
    for pool in pools:
        reads = 0 if pool.is_remembered(session) else pool.count
        if reads <= left:
            left -= reads
            found.append(pool.weigh(session))
        else:
            found.append((pool.count, pool.mass))
    return found


def _pool(instance: EffectiveInstance, totals: Totals) -> _Pool:
    of_this = totals[instance.row.id]
    buffered = of_this.get(ExperienceStatus.BUFFERED)
    return _Pool(
        instance=instance,
        count=buffered.count if buffered else 0,
        mass=buffered.mass if buffered else 0.0,
        depends_on=(
            CurationRules.of(instance.policy),
            instance.policy.min_salience,
            instance.policy.max_experiences,
            *((it.status, it.count, it.total) for it in of_this.values()),
        ),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Waiting:
    """An instance, and its state as if all that waits were trained."""

    pool: _Pool
    state: SleepState

    @property
    def instance(self) -> EffectiveInstance:
        """Whose state it is."""
        return self.pool.instance

    def without_idle(self, session: Session, glance: Glance | None = None) -> SleepDecision:
        """The decision on what would be trained."""
        return self.decide_on(self.pool.weigh(session, glance))

    def decide_on(self, weighed: tuple[int, float]) -> SleepDecision:
        """The decision on so many, of such a mass."""
        count, mass = weighed
        return decide(replace(self.state, count=count, mass=mass), self.instance.policy)


def _look(
    session: Session, wanted: Sequence[EffectiveInstance], *, now: datetime
) -> list[_Waiting]:
    """The states of some instances; as many queries as for one.

    Each base model among them is looked for once; a look at a directory, no file is read.
    """
    ids = [instance.row.id for instance in wanted]
    totals = instances.totals_by_status(session, ids)
    slept = sleep_cycles.last_ended_by_instance(session, ids, ENDED_BY_A_VERDICT, triggers=SLEEPS)
    ended = sleep_cycles.last_ended_by_instance(session, ids, ENDED, triggers=SLEEPS)
    failures = sleep_cycles.in_a_row_by_instance(
        session, ids, CycleStatus.FAILED, since=ENDED_BY_A_VERDICT
    )
    adaptive = [item.row.id for item in wanted if item.policy.adaptive_threshold]
    rejected = (
        sleep_cycles.in_a_row_by_instance(
            session, adaptive, CycleStatus.REJECTED, since=[CycleStatus.SUCCEEDED]
        )
        if adaptive
        else {}
    )
    active = sleep_cycles.active_by_instance(session, ids)
    manual = [item.row.id for item in wanted if item.policy.promotion is Promotion.MANUAL]
    proposed = (
        checkpoints.alias_targets_by_instance(session, manual, Alias.CANDIDATE) if manual else {}
    )
    find_base_fault = cache(defaults_of(session).find_base_fault)  # each base is looked for once
    looked: list[_Waiting] = []
    for instance in wanted:
        pool = _pool(instance, totals)
        last, newest = slept.get(instance.row.id), ended.get(instance.row.id)
        failed, refused = failures.get(instance.row.id), rejected.get(instance.row.id)
        was_cancelled = newest is not None and newest.status == CycleStatus.CANCELLED
        state = SleepState(
            now=now,
            local_time=now.astimezone(ZoneInfo(instance.timezone)).time(),
            timezone=instance.timezone,
            waits_since=last.finished_at if last else instance.row.created_at,
            rejections=refused.count if refused else 0,
            mass=pool.mass,
            count=pool.count,
            last_cycle_ended_at=last.finished_at if last else None,
            last_exchange_at=instance.row.last_exchange_at,
            has_active_cycle=instance.row.id in active,
            has_candidate=instance.row.id in proposed,
            faults=instance.faults,
            base_fault=instance.base_unnamed or find_base_fault(instance.base_model),
            failures=failed.count if failed else 0,
            last_failed_at=failed.last_at if failed else None,
            cancelled_at=newest.finished_at if newest and was_cancelled else None,
        )
        looked.append(_Waiting(pool=pool, state=state))
    return looked
