"""Asking for sleep: a cycle is previewed, queued with its experiences claimed, or cancelled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.clock import new_id
from app.db import checkpoints, events, instances, lineage, sleep_cycles, statuses
from app.db.engine import Database, defaults_of
from app.db.tables import SleepCycleRow
from app.domain.decision import SleepDecision, Trigger
from app.domain.events import CycleQueued, EventType, RebuildRequested
from app.domain.experience import CycleRole
from app.domain.fit import FitQuestion
from app.domain.plan import CyclePlan
from app.domain.progress import CycleStatus
from app.domain.selection import Selection
from app.domain.stored import to_json
from app.errors import (
    BaseModelAbsent,
    BaseModelUnnamed,
    Conflict,
    IdempotencyKeyReused,
    NothingToConsolidate,
    NothingToRebuildFrom,
    SleepCycleActive,
    SleepCycleEnded,
    SleepNotDue,
)
from app.services.cycle_end import end_cancelled
from app.services.cycle_run import read_exchanges_within
from app.services.decisions import decide_at_most_within, decide_within
from app.services.instances import EffectiveInstance, find_unusable, load_effective
from app.services.planning import Glance, glance_within, plan_within


@dataclass(frozen=True, kw_only=True, slots=True)
class CycleRequest:
    """What a caller, or the schedule, asks for.

    Attributes:
        is_forced: Skip the waiting rules; never the gate, and never the want of experiences.
        recipe: Hyper-parameters that replace the instance's, and perhaps a `preset` below them.
        adopts: Name of the checkpoint in the mirror that is adopted (`app.services.adopting`).
    """

    instance: str
    trigger: Trigger
    is_forced: bool = False
    recipe: Mapping[str, Any] = field(default_factory=dict)
    max_experiences: int | None = None
    min_salience: float | None = None
    idempotency_key: str | None = None
    adopts: str | None = None

    @property
    def sha256(self) -> str:
        """Hash of what was asked, which tells a repeated request from another one."""
        asked = [
            self.instance,
            self.is_forced,
            {name: self.recipe[name] for name in sorted(self.recipe)},
            self.max_experiences,
            self.min_salience,
        ]
        if self.trigger is Trigger.REBUILD:
            asked.append(self.trigger.value)
        if self.adopts is not None:
            asked.append(self.adopts)
        return hashlib.sha256(json.dumps(asked, default=list).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class CyclePreview:
    """What a cycle would do now.

    Attributes:
        question: What only its base's tokenizer knows of it; None where it would train on nothing,
            or has no base.
    """

    decision: SleepDecision
    plan: CyclePlan
    refusal: Conflict | None
    question: FitQuestion | None


def preview_cycle(db: Database, request: CycleRequest, *, now: datetime) -> CyclePreview:
    """Answer a dry run: the decision and the selected ids; nothing starts."""
    with db.read() as session:
        instance = load_effective(session, request.instance)
        decision = decide_within(session, instance, now=now)
        selection, plan = plan_within(
            session,
            instance,
            is_rebuild=request.trigger is Trigger.REBUILD,
            overrides=request.recipe,
            max_experiences=request.max_experiences,
            min_salience=request.min_salience,
        )
        refusal = find_refusal_within(session, instance, request, decision) or _find_empty_refusal(
            request, decision, selection
        )
        parent_id = plan.parent_checkpoint_id
        parent = checkpoints.get_checkpoint(session, parent_id) if parent_id else None
        return CyclePreview(
            decision=decision,
            plan=plan if parent is None else replace(plan, layers=parent.metrics.layers),
            refusal=refusal,
            question=_question(session, plan)
            if selection.train and instance.base_unnamed is None
            else None,
        )


def request_cycle(db: Database, request: CycleRequest, *, now: datetime) -> SleepCycleRow:
    """Queue a cycle and claim its experiences, in one transaction.

    Texts are read and compared before it, so that no post waits for that; and not at all where it
    is plain that no cycle starts.

    Raises: InstanceNotFound, SettingsUnusable, BaseModelUnnamed, BaseModelAbsent,
        SleepCycleActive, SleepNotDue, NothingToConsolidate, IdempotencyKeyReused.
    """
    with db.read() as session:
        instance = load_effective(session, request.instance)
        earlier = find_earlier_within(session, instance, request)
        if earlier is not None:
            return earlier
        at_most = decide_at_most_within(session, instance, now=now)
        refusal = find_refusal_within(session, instance, request, at_most)
        if refusal is not None:
            raise refusal
        glance = glance_within(
            session,
            instance,
            max_experiences=request.max_experiences,
            min_salience=request.min_salience,
        )
        has_own_limits = (request.max_experiences, request.min_salience) != (None, None)
        # Remembered, so that the transaction that writes compares no texts.
        decide_within(session, instance, now=now, glance=None if has_own_limits else glance)
    with db.write() as session:
        cycle, _ = request_cycle_within(session, request, now=now, glance=glance)
        return cycle


def request_cycle_within(
    session: Session,
    request: CycleRequest,
    *,
    now: datetime,
    glance: Glance | None = None,
) -> tuple[SleepCycleRow, bool]:
    """Within a transaction: queue a cycle, unless its key says that it was; and whether it is new.

    Raises: as `request_cycle`; NothingToRebuildFrom for a rebuild.
    """
    instance = load_effective(session, request.instance)
    earlier = find_earlier_within(session, instance, request)
    if earlier is not None:
        return earlier, False
    decision = decide_within(session, instance, now=now)
    refusal = find_refusal_within(session, instance, request, decision)
    if refusal is not None:
        raise refusal
    selection, plan = plan_within(
        session,
        instance,
        is_rebuild=request.trigger is Trigger.REBUILD,
        overrides=request.recipe,
        max_experiences=request.max_experiences,
        min_salience=request.min_salience,
        glance=glance,
    )
    refusal = _find_empty_refusal(request, decision, selection)
    if refusal is not None:
        raise refusal
    cycle = insert_cycle_within(session, instance, request, decision, selection, plan, now=now)
    return cycle, True


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
    with db.read() as session:  # remembered, so that the transaction that writes compares no texts
        decide_within(session, load_effective(session, slug), now=now)
    with db.write() as session:
        cycle, is_new = request_cycle_within(session, request, now=now)
        if is_new:
            events.append_event(
                session,
                type_=EventType.REBUILD_REQUESTED,
                instance_id=cycle.instance_id,
                cycle_id=cycle.id,
                now=now,
                facts=RebuildRequested(
                    actor=actor,
                    reason=reason,
                    from_checkpoint=cycle.plan.replaces_checkpoint_id,
                ),
            )
        return cycle


def cancel_cycle(db: Database, cycle_id: str, *, now: datetime) -> SleepCycleRow:
    """Cancel a queued cycle at once, or ask a running one to stop.

    Raises: SleepCycleNotFound, SleepCycleEnded.
    """
    with db.write() as session:
        cancel_within(session, sleep_cycles.get_cycle(session, cycle_id), now=now)
        session.expire_all()
        return sleep_cycles.get_cycle(session, cycle_id)


def cancel_within(session: Session, cycle: SleepCycleRow, *, now: datetime) -> None:
    """Within a transaction: cancel a queued cycle, or ask a running one to stop.

    Raises: SleepCycleEnded.
    """
    if CycleStatus(cycle.status) is CycleStatus.QUEUED:
        end_cancelled(session, cycle, now=now)
    elif CycleStatus(cycle.status).is_active:
        sleep_cycles.request_cancel(session, cycle.id, now=now)
    else:
        raise SleepCycleEnded(f"The cycle is {cycle.status} already.", sleep_cycle_id=cycle.id)


def _question(session: Session, plan: CyclePlan) -> FitQuestion:
    parent_id = plan.parent_checkpoint_id
    parent = checkpoints.get_checkpoint(session, parent_id) if parent_id else None
    return FitQuestion(
        base_model=plan.base_model,
        system_prompt=plan.system_prompt,
        max_length=plan.recipe.max_length,
        thinking=plan.thinking,
        target_modules=plan.recipe.target_modules,
        lora_dropout=plan.recipe.lora_dropout,
        device=plan.recipe.device,
        quantization=plan.recipe.quantization,
        has_parent=parent is not None,
        parent_base_parts=checkpoints.base_parts_of(session, parent) if parent else {},
        train=read_exchanges_within(session, plan.experience_ids, CycleRole.TRAIN),
        held_out=read_exchanges_within(session, plan.held_out_ids, CycleRole.HELD_OUT),
    )


def insert_cycle_within(
    session: Session,
    instance: EffectiveInstance,
    request: CycleRequest,
    decision: SleepDecision,
    selection: Selection,
    plan: CyclePlan,
    *,
    now: datetime,
) -> SleepCycleRow:
    """Within a transaction: queue a plan and claim what it trains on. Raises: SleepCycleActive."""
    number = instances.take_cycle_number(session, instance.row.id)
    try:
        cycle = sleep_cycles.insert_cycle(
            session,
            {
                "id": new_id(),
                "instance_id": instance.row.id,
                "number": number,
                "status": CycleStatus.QUEUED,
                "trigger": request.trigger,
                "is_forced": request.is_forced,
                "idempotency_key": request.idempotency_key,
                "request_sha256": request.sha256,
                "decision": decision,
                "plan": plan,
                "created_at": now,
            },
        )
    except IntegrityError as error:
        raise SleepCycleActive("A cycle of this instance is queued or running.") from error
    for role, items in (
        (CycleRole.TRAIN, selection.train),
        (CycleRole.REHEARSAL, selection.rehearsal),
        (CycleRole.HELD_OUT, selection.held_out),
    ):
        lineage.insert_cycle_experiences(session, cycle.id, role, items)
    statuses.claim(session, selection.train)
    events.append_event(
        session,
        type_=EventType.CYCLE_QUEUED,
        instance_id=instance.row.id,
        cycle_id=cycle.id,
        now=now,
        facts=CycleQueued(
            number=number,
            trigger=request.trigger,
            experiences=len(selection.train),
            mass=decision.mass,
        ),
    )
    return cycle


def find_earlier_within(
    session: Session, instance: EffectiveInstance, request: CycleRequest
) -> SleepCycleRow | None:
    """The cycle that this key has asked for before. Raises: IdempotencyKeyReused."""
    if request.idempotency_key is None:
        return None
    earlier = sleep_cycles.find_by_idempotency_key(
        session, instance.row.id, request.idempotency_key
    )
    if earlier is not None and earlier.request_sha256 != request.sha256:
        raise IdempotencyKeyReused(
            "This Idempotency-Key was used for another cycle request; use a new key.",
            sleep_cycle_id=earlier.id,
        )
    return earlier


def find_refusal_within(
    session: Session,
    instance: EffectiveInstance,
    request: CycleRequest,
    decision: SleepDecision,
) -> Conflict | None:
    """What keeps a cycle from starting now whatever it would take; the same for a dry run."""
    if (unusable := find_unusable(instance)) is not None:
        return unusable
    if instance.base_unnamed is not None:
        return BaseModelUnnamed(
            f"{request.instance} trains nothing: {instance.base_unnamed}. Exchanges are taken all "
            "the same.",
            instance=request.instance,
        )
    if (fault := defaults_of(session).find_base_fault(instance.base_model)) is not None:
        return BaseModelAbsent(
            f"{fault[0].upper()}{fault[1:]}. Exchanges are taken all the same.",
            instance=request.instance,
        )
    if (active := sleep_cycles.find_active(session, instance.row.id)) is not None:
        return SleepCycleActive(
            f"Cycle {active.number} of this instance is {active.status}; wait for it or cancel it.",
            sleep_cycle_id=active.id,
        )
    if not decision.is_due and not request.is_forced:
        waiting = "; ".join(reason.text for reason in decision.reasons if not reason.is_met)
        return SleepNotDue(
            f"Sleep is not due: {waiting}. Send force to skip the waiting rules.",
            **_facts(request, decision),
        )
    return None


def _find_empty_refusal(
    request: CycleRequest, decision: SleepDecision, selection: Selection
) -> Conflict | None:
    """Says that there is too little to train on or to measure with; the same for a dry run."""
    if selection.train and selection.held_out:
        return None
    if request.trigger is Trigger.REBUILD:
        return NothingToRebuildFrom(
            f"{request.instance} has too little left that a cycle consolidated "
            f"({len(selection.train)} to train, {len(selection.held_out)} held out to measure "
            "with): post exchanges and let it sleep, or roll back to the base model.",
            instance=request.instance,
        )
    return NothingToConsolidate(
        f"{request.instance} has nothing left to train on ({len(selection.train)} to train, "
        f"{len(selection.held_out)} held out to measure with): post exchanges, or lower "
        "min_salience.",
        **_facts(request, decision),
    )


def _facts(request: CycleRequest, decision: SleepDecision) -> dict[str, Any]:
    return {"instance": request.instance, "decision": to_json(decision)}
