"""Asking for a line of checkpoints to be made anew from the base, without what was erased."""

from __future__ import annotations

from datetime import datetime

from app.db import events
from app.db.engine import Database
from app.db.tables import SleepCycleRow
from app.domain.decision import Trigger
from app.services.sleep import CycleRequest, request_cycle_within


def request_rebuild(
    db: Database,
    slug: str,
    *,
    actor: str,
    reason: str | None,
    idempotency_key: str | None,
    now: datetime,
) -> SleepCycleRow:
    """Queue a cycle that starts from the base and trains on what is still consolidated.

    No waiting rule applies; the gate does, and the usual rule of promotion.

    Raises: InstanceNotFound, SleepCycleActive, NothingToRebuildFrom, IdempotencyKeyReused.
    """
    request = CycleRequest(
        instance=slug, trigger=Trigger.REBUILD, is_forced=True, idempotency_key=idempotency_key
    )
    with db.write() as session:
        cycle, is_new = request_cycle_within(session, request, now=now)
        if is_new:
            events.append_event(
                session,
                type_="instance.rebuild_requested",
                instance_id=cycle.instance_id,
                cycle_id=cycle.id,
                now=now,
                data={
                    "actor": actor,
                    "reason": reason,
                    "from": cycle.plan["replaces_checkpoint_id"],
                },
            )
        return cycle
