"""Instances: making one, changing its policy, what its settings come to, its events."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

from sqlalchemy.orm import Session

from app.db import events, instances, lineage, statuses
from app.db.engine import Database, defaults_of
from app.db.events import EventFilter
from app.db.tables import EventRow, InstanceRow
from app.domain.categories import check_floors
from app.domain.declared import lay_usable_over
from app.domain.exchange import SLUG_PATTERN
from app.domain.instance import InstanceDefaults, check_zone
from app.domain.model_names import is_same_base
from app.domain.plan import CyclePlan
from app.domain.policy import Promotion, SleepPolicy, check_reach, lay_over_policy
from app.domain.presets import lay_over
from app.domain.recipe import Recipe
from app.errors import InvalidSlug, SettingsUnusable


@dataclass(frozen=True, kw_only=True, slots=True)
class EffectiveInstance:
    """An instance with every default filled in.

    Attributes:
        base_model: Hub id or directory; where `base_unnamed`, what the runtime calls the model.
        base_unnamed: Why no base is known for it, and how to name one.
        faults: What is wrong with settings of its own that cannot be used, by name. As long as
            there are some, it does not sleep, and nothing of it is promoted or removed by itself.
    """

    row: InstanceRow
    base_model: str
    system_prompt: str
    timezone: str
    policy: SleepPolicy
    recipe: Recipe
    probe_prompts: tuple[str, ...]
    base_unnamed: str | None = None
    faults: tuple[str, ...] = ()


OWN_COLUMNS = ("base_model", "model_name", "system_prompt", "timezone")
"""What an instance may set besides its policy and its recipe."""

CAUTIOUS: Mapping[str, Any] = MappingProxyType(
    {"promotion": Promotion.MANUAL, "retain_text_days": 0, "retain_checkpoints": 0}
)
"""Policy of an instance whose own settings cannot all be used: the defaults may be what it did not
want."""


def effective(session: Session, row: InstanceRow) -> EffectiveInstance:
    """Lay an instance's overrides over the defaults that the database was opened with.

    Of settings that an older version stored, what cannot be used today is left out and named.
    """
    defaults = defaults_of(session)
    policy, faults = lay_usable_over(lay_over_policy, defaults.policy, row.policy)
    recipe, of_recipe = lay_usable_over(lay_over, defaults.recipe, row.recipe)
    timezone, of_timezone = _usable_timezone(row.timezone, defaults.timezone)
    if faults := faults + of_recipe + of_timezone:
        policy = replace(policy, **CAUTIOUS)
    base_model, base_unnamed = _base_of(row, defaults)
    return EffectiveInstance(
        row=row,
        base_model=base_model,
        base_unnamed=base_unnamed,
        system_prompt=row.system_prompt or defaults.system_prompt,
        timezone=timezone,
        policy=policy,
        recipe=recipe,
        probe_prompts=defaults.probe_prompts,
        faults=faults,
    )


def _base_of(row: InstanceRow, defaults: InstanceDefaults) -> tuple[str, str | None]:
    """The base of an instance, and why it has none where its model is none that is known.

    The settings' own is meant where nothing was said of a model; and where it is the same by name,
    since it may be a directory on this machine.
    """
    if row.base_model is not None:
        return row.base_model, None
    if row.model_name is None:
        return defaults.base_model, None
    found = defaults.models.find(row.model_name)
    if found is None:
        return row.model_name, (
            f"its runtime calls its model {row.model_name!r}, and no base is known for that name: "
            f"run `sage-sleep model use {row.slug} BASE` with a hub id or a directory, or name it "
            "in SAGE_MODEL_TABLE"
        )
    return (defaults.base_model if is_same_base(found, defaults.base_model) else found), None


def find_unusable(instance: EffectiveInstance) -> SettingsUnusable | None:
    """The refusal of a cycle for an instance whose own settings cannot all be used."""
    if not instance.faults:
        return None
    slug = instance.row.slug
    return SettingsUnusable(
        f"{slug} has settings that cannot be used: {' '.join(instance.faults)} Put them anew: "
        f"PUT /v1/instances/{slug}, or `sage-sleep instances put {slug}`.",
        instance=slug,
    )


def get_instance(db: Database, slug: str) -> EffectiveInstance:
    """Return one instance. Raises: InstanceNotFound."""
    with db.read() as session:
        return effective(session, instances.get_instance(session, slug))


def list_instances(
    db: Database, *, within: Collection[str] | None = None
) -> Sequence[EffectiveInstance]:
    """All instances, or those of these slugs, by slug."""
    with db.read() as session:
        rows = instances.list_instances(session, within=within)
        return [effective(session, row) for row in rows]


def put_instance(
    db: Database,
    slug: str,
    values: Mapping[str, Any],
    *,
    now: datetime,
) -> tuple[EffectiveInstance, bool]:
    """Create or replace an instance's settings; what `values` leaves out becomes the default.

    A changed `min_salience` regrades the experiences that wait; another base model, system prompt
    or length gives back what the one before could not hold.

    Args:
        slug: Becomes a directory's name, so it is checked here whoever calls.
        values: Of base_model, model_name, system_prompt, timezone, policy and recipe; the first
            four are checked by the caller.

    Returns:
        The instance, and whether it was created.

    Raises: InvalidSlug, InvalidPolicy.
    """
    if re.fullmatch(SLUG_PATTERN, slug) is None:
        raise InvalidSlug(
            f"{slug!r} is no slug: lower-case letters, digits, '.', '_' and '-', at most 64, "
            "such as sprout-qwen2.5-0.5b.",
            pointer="/instance",
        )
    _check(db, values)
    with db.write() as session:
        row = instances.find_instance(session, slug)
        is_new = row is None
        if row is None:
            row = instances.insert_instance(session, slug=slug, now=now)
        # Who spoke is no setting: it stays until somebody says other.
        model_name = values.get("model_name") or row.model_name
        return _replace(session, row, {**values, "model_name": model_name}, now=now), is_new


def patch_instance(
    db: Database, slug: str, changes: Mapping[str, Any], *, now: datetime
) -> EffectiveInstance:
    """Change single settings of an instance and leave the others.

    Args:
        changes: As of `put_instance`; a None takes what the instance has of its own back.

    Raises: InstanceNotFound, InvalidPolicy.
    """
    with db.write() as session:
        row = instances.get_instance(session, slug)
        own = {name: getattr(row, name) for name in OWN_COLUMNS}
        values = {**own, **{name: value for name, value in changes.items() if name in own}}
        for section in ("policy", "recipe"):
            merged = {**getattr(row, section), **changes.get(section, {})}
            values[section] = {name: value for name, value in merged.items() if value is not None}
        _check(db, values)
        return _replace(session, row, values, now=now)


def _check(db: Database, values: Mapping[str, Any]) -> None:
    """Demand settings that can be used. Raises: InvalidPolicy."""
    policy = lay_over_policy(db.defaults.policy, values.get("policy", {}))
    check_floors(policy.category_floors, policy.categories)
    check_reach(values.get("policy", {}))
    lay_over(db.defaults.recipe, values.get("recipe", {}))


def _replace(
    session: Session, row: InstanceRow, values: Mapping[str, Any], *, now: datetime
) -> EffectiveInstance:
    """Write an instance's settings, and let what waits follow them."""
    before = effective(session, row)
    empty: dict[str, Any] = {"policy": {}, "recipe": {}, **dict.fromkeys(OWN_COLUMNS)}
    instances.update_instance(session, row.id, {**empty, **values}, now=now)
    session.refresh(row)
    after = effective(session, row)
    if after.policy.min_salience != before.policy.min_salience:
        statuses.regrade(session, row.id, after.policy.min_salience)
    if _holds_other_exchanges(before, after):
        statuses.give_set_aside_back(session, row.id, after.policy.min_salience)
    return after


def list_unknown_models(db: Database) -> dict[str, str]:
    """The instances whose model's base is not known, with what their runtimes call it."""
    with db.read() as session:
        rows = instances.list_with_model_name(session)
        found = [effective(session, row) for row in rows]
        return {
            one.row.slug: one.row.model_name
            for one in found
            if one.base_unnamed is not None and one.row.model_name is not None
        }


def settle_base(
    db: Database, slug: str, model_name: str, base_model: str, *, now: datetime
) -> bool:
    """Keep what a runtime says of its model, unless somebody said other; returns whether it is."""
    with db.write() as session:
        row = instances.find_instance(session, slug)
        if row is None or row.base_model is not None or row.model_name != model_name:
            return False
        instances.update_instance(session, row.id, {"base_model": base_model}, now=now)
        return True


def give_back_what_other_settings_hold(db: Database) -> None:
    """At a start: let what was set aside wait again where the daemon's own settings changed."""
    with db.write() as session:
        for cycle in lineage.list_last_setting_aside(session):
            now = effective(session, instances.get_instance_by_id(session, cycle.instance_id))
            if _holds_other_exchanges(cycle.plan, now):
                statuses.give_set_aside_back(session, cycle.instance_id, now.policy.min_salience)


def _holds_other_exchanges(before: EffectiveInstance | CyclePlan, after: EffectiveInstance) -> bool:
    return (before.base_model, before.system_prompt, before.recipe.max_length) != (
        after.base_model,
        after.system_prompt,
        after.recipe.max_length,
    )


def load_effective(session: Session, slug: str) -> EffectiveInstance:
    """The same within a transaction of another service. Raises: InstanceNotFound."""
    return effective(session, instances.get_instance(session, slug))


def load_policy(session: Session, instance_id: int) -> SleepPolicy:
    """Within a transaction of another service: the policy of the instance that a row belongs to."""
    return effective(session, instances.get_instance_by_id(session, instance_id)).policy


def list_events(
    db: Database, slug: str, wanted: EventFilter, *, after_seq: int, limit: int
) -> Sequence[EventRow]:
    """Events of an instance after a number, oldest first. Raises: InstanceNotFound."""
    with db.read() as session:
        instance = instances.get_instance(session, slug)
        return events.list_instance_events(
            session, instance.id, wanted, after_seq=after_seq, limit=limit
        )


def list_newest_events(
    db: Database, slug: str, wanted: EventFilter, *, before_seq: int, limit: int
) -> Sequence[EventRow]:
    """Events of an instance before a number, newest first. Raises: InstanceNotFound."""
    with db.read() as session:
        instance = instances.get_instance(session, slug)
        return events.list_newest_instance_events(
            session, instance.id, wanted, before_seq=before_seq, limit=limit
        )


def get_instance_id(db: Database, slug: str) -> int:
    """An instance's number in the database. Raises: InstanceNotFound."""
    with db.read() as session:
        return instances.get_instance(session, slug).id


def find_last_event(db: Database, slug: str) -> int:
    """Number of an instance's newest event; 0 before the first. Raises: InstanceNotFound."""
    with db.read() as session:
        return events.find_last_seq(session, instances.get_instance(session, slug).id)


def _usable_timezone(own: str | None, default: str) -> tuple[str, tuple[str, ...]]:
    if own is None:
        return default, ()
    try:
        return check_zone(own), ()
    except ValueError as error:
        return default, (f"timezone: {error}.",)
