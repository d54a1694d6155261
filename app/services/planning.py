"""What a cycle would take: recipe, experiences, rehearsal and what it is measured with, as a plan.

Must not change anything: `app.services.sleep` claims what is planned here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from sqlalchemy.orm import Session

from app.db import checkpoints, lineage, sleep_cycles, trainable
from app.domain.checkpoint import Alias
from app.domain.curation import Curated, curate, find_idle
from app.domain.curation import pool_size as curation_pool_size
from app.domain.plan import CyclePlan
from app.domain.policy import SleepPolicy
from app.domain.presets import lay_over
from app.domain.rebuild import is_rebuild_due
from app.domain.recipe import Recipe
from app.domain.selection import MAX_HELD_OUT, REHEARSAL_POOL_FACTOR, Selectable, Selection, select
from app.domain.traits import CurationRules, TraitReader, Traits
from app.errors import InvalidPolicy
from app.services.instances import EffectiveInstance, find_unusable

GEOMETRY = ("r", "lora_alpha", "target_modules")
"""Hyper-parameters that an adapter keeps for life."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Glance:
    """What was read of the pool's texts, for which rules, and what these made of them.

    A text changes only where it is erased, and then it waits no more, so the traits stay true;
    what the rules made of them holds for the same pool and the same size.

    Attributes:
        pool: In order.
        limit: The size of the cycle.
        traits: By sequence number.
    """

    rules: CurationRules
    pool: Sequence[Selectable]
    limit: int
    traits: Mapping[int, Traits]
    curated: Curated


def glance_within(
    session: Session,
    instance: EffectiveInstance,
    *,
    max_experiences: int | None = None,
    min_salience: float | None = None,
) -> Glance:
    """Within a transaction that reads: compute what takes long, before one that writes.

    A pool of a thousand takes 50 to 100 ms on a busy core, the plan itself then 10 to 20
    (`tests/benchmarks/test_curation.py`).
    """
    return _glance(
        session,
        instance.row.id,
        CurationRules.of(instance.policy),
        min_salience=instance.policy.min_salience if min_salience is None else min_salience,
        limit=max_experiences or instance.policy.max_experiences,
    )


def idle_of(glance: Glance) -> tuple[int, float]:
    """How much of what counts a cycle would leave out: count and mass."""
    idle = find_idle(glance.pool, glance.curated)
    return len(idle), sum(item.total for item in idle)


def plan_within(
    session: Session,
    instance: EffectiveInstance,
    *,
    is_rebuild: bool = False,
    overrides: Mapping[str, Any] = MappingProxyType({}),
    max_experiences: int | None = None,
    min_salience: float | None = None,
    glance: Glance | None = None,
) -> tuple[Selection, CyclePlan]:
    """Within a transaction: what a cycle would train on now; nothing is claimed.

    Args:
        is_rebuild: Start from the base and train on what is still consolidated.
        overrides: Hyper-parameters that replace the instance's, and perhaps a `preset` below them.
        max_experiences: None for the policy's.
        min_salience: None for the policy's.
        glance: What was read of the texts, and made of them, before.

    Raises: InvalidPolicy, SettingsUnusable.
    """
    if (unusable := find_unusable(instance)) is not None:
        raise unusable
    current_id = checkpoints.find_alias_target(session, instance.row.id, Alias.CURRENT)
    is_from_base = is_rebuild or (
        current_id is not None
        and is_rebuild_due(
            lineage.count_stacked_updates(session, current_id),
            sleep_cycles.count_since_rejected_start(session, instance.row.id),
            instance.policy,
        )
    )
    parent_id = None if is_from_base else current_id
    recipe = _recipe(session, instance.recipe, overrides, parent_id)
    limit = max_experiences or instance.policy.max_experiences
    if min_salience is None:
        min_salience = instance.policy.min_salience
    curated = Curated(taken=(), left_out=())
    if is_rebuild:
        selection = _select_store(session, instance.row.id, recipe, limit=limit)
    else:
        selection, curated = _select_new(
            session,
            instance.row.id,
            recipe,
            instance.policy,
            min_salience=min_salience,
            limit=limit,
            glance=glance,
        )
        if is_from_base:
            # What the adapter that is left behind had learned comes back with the whole store.
            store = trainable.list_rehearsal_pool(session, instance.row.id, limit)
            selection = replace(selection, rehearsal=tuple(store), rehearsal_count=None)
    plan = CyclePlan(
        base_model=instance.base_model,
        system_prompt=instance.system_prompt,
        recipe=recipe,
        min_salience=min_salience,
        max_experiences=limit,
        parent_checkpoint_id=parent_id,
        replaces_checkpoint_id=current_id,
        experience_ids=tuple(item.id for item in selection.train),
        rehearsal_ids=tuple(item.id for item in selection.rehearsal),
        rehearsal_count=selection.rehearsal_count,
        thinking=instance.policy.thinking,
        held_out_ids=tuple(item.id for item in selection.held_out),
        data_sha256=selection.data_sha256,
        probe_prompts=instance.probe_prompts,
        left_out=curated.left_out,
        floors=curated.floors,
    )
    return selection, plan


def _select_new(
    session: Session,
    instance_id: int,
    recipe: Recipe,
    policy: SleepPolicy,
    *,
    min_salience: float,
    limit: int,
    glance: Glance | None,
) -> tuple[Selection, Curated]:
    """What waits in the buffer, curated, with a share of rehearsal; and what the rules did."""
    pool_size = round(REHEARSAL_POOL_FACTOR * recipe.rehearsal_share * limit)
    curated = _glance(
        session,
        instance_id,
        CurationRules.of(policy),
        min_salience=min_salience,
        limit=limit,
        earlier=glance,
    ).curated
    selection = select(
        curated.taken,
        held_out=trainable.list_held_out(session, instance_id, MAX_HELD_OUT),
        rehearsal_pool=trainable.list_rehearsal_pool(session, instance_id, pool_size)
        if pool_size
        else (),
        rehearsal_share=recipe.rehearsal_share,
        seed=recipe.seed,
    )
    return selection, curated


def _glance(
    session: Session,
    instance_id: int,
    rules: CurationRules,
    *,
    min_salience: float,
    limit: int,
    earlier: Glance | None = None,
) -> Glance:
    """Look at the pool, and curate it where an earlier glance did not see the same."""
    pool = trainable.list_waiting(
        session,
        instance_id,
        min_salience=min_salience,
        limit=limit if rules.is_none else curation_pool_size(limit),
    )
    known: Mapping[int, Traits] = {}
    if earlier is not None and earlier.rules == rules:
        if earlier.limit == limit and earlier.pool == pool:
            return earlier
        known = earlier.traits
    traits = _read_traits(session, pool, rules, known)
    curated = curate(pool, traits, rules, limit=limit)
    return Glance(rules=rules, pool=pool, limit=limit, traits=traits, curated=curated)


def _read_traits(
    session: Session,
    pool: Sequence[Selectable],
    rules: CurationRules,
    known: Mapping[int, Traits],
) -> Mapping[int, Traits]:
    """The traits of this pool by sequence number; texts are read of unknown ones alone."""
    unknown = [item.seq for item in pool if item.seq not in known]
    if rules.is_none or not unknown:
        return known
    reader = TraitReader(rules)
    found = {
        row.seq: reader.read(prompt=row.prompt, response=row.response, phase=row.phase)
        for row in trainable.stream_texts(session, unknown)
    }
    return {**known, **found}


def _select_store(session: Session, instance_id: int, recipe: Recipe, *, limit: int) -> Selection:
    """What was consolidated before and is still there; it stays consolidated whatever happens."""
    return select(
        trainable.list_rehearsal_pool(session, instance_id, limit),
        held_out=trainable.list_held_out(session, instance_id, MAX_HELD_OUT),
        rehearsal_pool=(),
        rehearsal_share=0.0,
        seed=recipe.seed,
    )


def _recipe(
    session: Session, recipe: Recipe, overrides: Mapping[str, Any], parent_id: str | None
) -> Recipe:
    """The recipe of a cycle; an adapter that goes on keeps the geometry it was made with.

    A changed default or preset must not stop an instance from sleeping, so its geometry waits for
    the next new adapter; a person who asks for another geometry is told.

    Raises: InvalidPolicy.
    """
    wanted = lay_over(recipe, overrides)
    if parent_id is None:
        return wanted
    parent = checkpoints.get_checkpoint(session, parent_id)
    made_with = sleep_cycles.get_cycle(session, parent.cycle_id).plan.recipe
    kept = {name: getattr(made_with, name) for name in GEOMETRY}
    for name in GEOMETRY:
        if name in overrides and overrides[name] != kept[name]:
            raise InvalidPolicy(
                f"The current adapter has {name} {kept[name]}, which cannot change while it is "
                "trained further; roll back to the base model first.",
                pointer=f"/overrides/{name}",
            )
    return replace(wanted, **kept)
