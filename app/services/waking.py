"""An instance is wanted while its cycle runs or waits: the cycle makes way, and goes on later."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from app.db import events, sleep_cycles
from app.db.engine import Database
from app.domain.events import CycleWoken, EventType
from app.domain.progress import CycleStatus
from app.services.instances import EffectiveInstance, load_effective


@dataclass(frozen=True, kw_only=True, slots=True)
class Wake:
    """What a wake found: the cycle that makes way, if there is one, and when it goes on."""

    cycle_id: str | None
    was_running: bool
    idle_seconds: float


def wake(db: Database, slug: str, *, actor: str, now: datetime) -> Wake:
    """Let an instance's cycle make way until no exchange has come for `idle_seconds`.

    A running one keeps what it has learned in a snapshot, ends its process within seconds, and goes
    on from there. Woken again, it waits anew.

    Raises: InstanceNotFound.
    """
    with db.write() as session:
        return _wake_within(session, load_effective(session, slug), actor=actor, now=now)


def wake_for_exchanges(db: Database, slugs: Collection[str], *, now: datetime) -> None:
    """Wake those of the instances that sleep, or wait for it, and whose policy asks for it."""
    with db.read() as session:
        asleep = sleep_cycles.list_asleep(session, slugs)
        wanted = [slug for slug in asleep if load_effective(session, slug).policy.wake_on_exchange]
    for slug in wanted:
        wake(db, slug, actor="exchange", now=now)


def _wake_within(
    session: Session, instance: EffectiveInstance, *, actor: str, now: datetime
) -> Wake:
    cycle = sleep_cycles.find_active(session, instance.row.id)
    idle_seconds = instance.policy.idle_seconds
    if cycle is None:
        return Wake(cycle_id=None, was_running=False, idle_seconds=idle_seconds)
    was_awake = cycle.woken_at is not None
    was_running = cycle.status != CycleStatus.QUEUED
    sleep_cycles.mark_woken(session, cycle.id, now=now)
    if not was_awake:
        events.append_event(
            session,
            type_=EventType.CYCLE_WOKEN,
            instance_id=cycle.instance_id,
            cycle_id=cycle.id,
            now=now,
            facts=CycleWoken(actor=actor, idle_seconds=idle_seconds),
        )
    return Wake(cycle_id=cycle.id, was_running=was_running, idle_seconds=idle_seconds)
