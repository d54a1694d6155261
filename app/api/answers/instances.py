"""Instances as they are sent: settings, and an instance at a glance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from app.api.schemas import (
    ActiveCycleOut,
    CheckpointSummaryOut,
    CycleSummaryOut,
    InstanceOut,
    InstanceOverrides,
    InstanceStatsOut,
    PolicyOverrides,
    RecipeOverrides,
)
from app.db.tables import SleepCycleRow
from app.services import instances, stats

Overrides = TypeVar("Overrides", bound=BaseModel)


def instance_out(instance: instances.EffectiveInstance) -> InstanceOut:
    """An instance, with every default filled in."""
    row = instance.row
    return InstanceOut(
        instance=row.slug,
        base_model=None if instance.base_unnamed else instance.base_model,
        model_name=row.model_name,
        system_prompt=instance.system_prompt,
        timezone=instance.timezone,
        policy=instance.policy,
        recipe=instance.recipe,
        overrides=InstanceOverrides(
            policy=_as_stored(PolicyOverrides, row.policy),
            recipe=_as_stored(RecipeOverrides, row.recipe),
        ),
        last_exchange_at=row.last_exchange_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def instance_stats_out(item: stats.InstanceStats) -> InstanceStatsOut:
    """An instance at a glance."""
    current = item.current_checkpoint
    return InstanceStatsOut(
        instance=item.instance,
        counts=dict(item.counts),
        mass=item.decision.mass,
        mass_threshold=item.decision.mass_threshold,
        decision=item.decision,
        salience_averages=dict(item.salience_averages) if item.salience_averages else None,
        last_exchange_at=item.last_exchange_at,
        last_cycle=_cycle(item.last_cycle) if item.last_cycle else None,
        running_cycle=_cycle(item.running_cycle) if item.running_cycle else None,
        current_checkpoint=CheckpointSummaryOut(
            id=current.id, name=current.name, created_at=current.created_at
        )
        if current
        else None,
    )


def _as_stored(kind: type[Overrides], stored: Mapping[str, Any]) -> Overrides:
    """What is stored, also where an older version took what is out of range today."""
    try:
        return kind(**stored)
    except ValidationError as error:
        odd = {str(item["loc"][0]) for item in error.errors()}
        shown = kind(**{name: value for name, value in stored.items() if name not in odd})
        for name in odd:
            setattr(shown, name, stored[name])
        return shown


def active_cycle_out(row: SleepCycleRow, instance: str) -> ActiveCycleOut:
    """A queued or running cycle, and whose it is."""
    return ActiveCycleOut(**dict(_cycle(row)), instance=instance)


def _cycle(row: SleepCycleRow) -> CycleSummaryOut:
    metrics = row.metrics
    same = set(CycleSummaryOut.model_fields) - {"held_out_before", "held_out_after"}
    return CycleSummaryOut(
        **{name: getattr(row, name) for name in same},
        held_out_before=metrics.held_out_before.nats_per_token if metrics else None,
        held_out_after=metrics.held_out_reloaded.nats_per_token if metrics else None,
    )
