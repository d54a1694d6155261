"""Adopting a checkpoint of another machine: a cycle that judges it by what this instance knows.

Queued like any cycle, so that one model at a time is in memory; it claims nothing. The worker pulls
the files, measures them on the instance's held-out exchanges and lets the gate speak; what it
accepts goes live by the usual rule, under an id of this machine's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.db import checkpoints, trainable
from app.db.engine import Database
from app.db.tables import CheckpointRow, SleepCycleRow
from app.domain.checkpoint import Alias, CheckpointStatus
from app.domain.decision import Trigger
from app.domain.mirror import AdoptedFrom
from app.domain.plan import CyclePlan
from app.domain.recipe import Recipe
from app.domain.selection import MAX_HELD_OUT, Selection, select
from app.errors import CheckpointHere, NothingToJudgeBy, RuntimeRefuses
from app.services.decisions import decide_within
from app.services.instances import EffectiveInstance, load_effective
from app.services.planning import GEOMETRY
from app.services.sleep import (
    CycleRequest,
    find_earlier_within,
    find_refusal_within,
    insert_cycle_within,
)


def request_adoption(
    db: Database,
    slug: str,
    adopted: AdoptedFrom,
    *,
    made_with: Recipe,
    idempotency_key: str | None,
    now: datetime,
) -> SleepCycleRow:
    """Queue a cycle that judges a checkpoint of the mirror.

    Args:
        made_with: The recipe of its training, whose geometry the adapter keeps for life.

    Raises: InstanceNotFound, SettingsUnusable, BaseModelUnnamed, BaseModelAbsent,
        SleepCycleActive, CheckpointHere, NothingToJudgeBy, IdempotencyKeyReused, RuntimeRefuses.
    """
    request = CycleRequest(
        instance=slug,
        trigger=Trigger.ADOPT,
        is_forced=True,
        idempotency_key=idempotency_key,
        adopts=adopted.name,
    )
    with db.read() as session:  # remembered, so that the transaction that writes compares no texts
        decide_within(session, load_effective(session, slug), now=now)
    with db.write() as session:
        instance = load_effective(session, slug)
        if (earlier := find_earlier_within(session, instance, request)) is not None:
            return earlier
        decision = decide_within(session, instance, now=now)
        if (refusal := find_refusal_within(session, instance, request, decision)) is not None:
            raise refusal
        _demand_absent(session, instance, adopted)
        selection = _select(session, instance)
        plan = _plan(session, instance, adopted, made_with, selection)
        return insert_cycle_within(session, instance, request, decision, selection, plan, now=now)


def find_here(
    session: Session, instance_id: int, checkpoint_ids: Collection[str]
) -> Mapping[str, CheckpointRow]:
    """What checkpoints of the mirror are on this machine, by their id there.

    The same one, or what of it this instance adopted last.
    """
    adopted = checkpoints.list_adopted(session, instance_id, checkpoint_ids)
    own = checkpoints.list_by_ids(session, checkpoint_ids)
    return {**adopted, **{row.id: row for row in own}}


def _demand_absent(session: Session, instance: EffectiveInstance, adopted: AdoptedFrom) -> None:
    here = find_here(session, instance.row.id, [adopted.checkpoint_id])
    row = here.get(adopted.checkpoint_id)
    if row is None:
        return
    if row.id == adopted.checkpoint_id:
        raise CheckpointHere(
            f"{adopted.name} is a checkpoint of this machine ({row.status}); nothing is adopted "
            "from itself.",
            checkpoint_id=row.id,
        )
    if row.status == CheckpointStatus.READY and row.verdict.is_accepted:
        raise CheckpointHere(
            f"{adopted.name} was adopted as {row.id}; `sage-sleep promote {row.id}` brings it "
            "back where it is not live.",
            checkpoint_id=row.id,
        )


def _select(session: Session, instance: EffectiveInstance) -> Selection:
    """What it is judged by; of a young instance some of what waits, as in a cycle that trains."""
    held_out = tuple(trainable.list_held_out(session, instance.row.id, MAX_HELD_OUT))
    if not held_out:
        waiting = trainable.list_waiting(
            session,
            instance.row.id,
            min_salience=instance.policy.min_salience,
            limit=instance.policy.max_experiences,
        )
        held_out = select(
            waiting, held_out=(), rehearsal_pool=(), rehearsal_share=0.0, seed=0
        ).held_out
    if not held_out:
        raise NothingToJudgeBy(
            f"{instance.row.slug} has no exchanges that a checkpoint of another machine could be "
            "judged by: post some first.",
            instance=instance.row.slug,
        )
    return Selection(train=(), rehearsal=(), held_out=held_out, rehearsal_count=0)


def _plan(
    session: Session,
    instance: EffectiveInstance,
    adopted: AdoptedFrom,
    made_with: Recipe,
    selection: Selection,
) -> CyclePlan:
    try:
        geometry: dict[str, Any] = {name: getattr(made_with, name) for name in GEOMETRY}
        recipe = replace(instance.recipe, **geometry)
    except ValidationError as error:
        raise RuntimeRefuses(
            f"The manifest of {adopted.name} tells a geometry that no adapter here has."
        ) from error
    return CyclePlan(
        base_model=instance.base_model,
        system_prompt=instance.system_prompt,
        recipe=recipe,
        min_salience=instance.policy.min_salience,
        max_experiences=instance.policy.max_experiences,
        parent_checkpoint_id=None,
        replaces_checkpoint_id=checkpoints.find_alias_target(
            session, instance.row.id, Alias.CURRENT
        ),
        experience_ids=(),
        rehearsal_ids=(),
        rehearsal_count=0,
        held_out_ids=tuple(item.id for item in selection.held_out),
        data_sha256=selection.data_sha256,
        probe_prompts=instance.probe_prompts,
        thinking=instance.policy.thinking,
        adopted_from=adopted,
    )
