"""Instances: making one, changing its policy, what its settings come to, its events."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from app.db import events, instances, statuses
from app.db.engine import Database, defaults_of
from app.db.events import EventFilter
from app.db.tables import EventRow, InstanceRow
from app.domain.categories import check_floors
from app.domain.exchange import SLUG_PATTERN
from app.domain.policy import SleepPolicy, lay_over_policy
from app.domain.presets import lay_over
from app.domain.recipe import Recipe
from app.errors import InvalidSlug


@dataclass(frozen=True, kw_only=True, slots=True)
class EffectiveInstance:
    """An instance with every default filled in."""

    row: InstanceRow
    base_model: str
    system_prompt: str
    timezone: str
    policy: SleepPolicy
    recipe: Recipe
    probe_prompts: tuple[str, ...]


def effective(session: Session, row: InstanceRow) -> EffectiveInstance:
    """Lay an instance's overrides over the defaults that the database was opened with."""
    defaults = defaults_of(session)
    return EffectiveInstance(
        row=row,
        base_model=row.base_model or defaults.base_model,
        system_prompt=row.system_prompt or defaults.system_prompt,
        timezone=row.timezone or defaults.timezone,
        policy=lay_over_policy(defaults.policy, row.policy),
        recipe=lay_over(defaults.recipe, row.recipe),
        probe_prompts=defaults.probe_prompts,
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

    A changed `min_salience` regrades the experiences that wait.

    Args:
        slug: Becomes a directory's name, so it is checked here whoever calls.
        values: Of base_model, system_prompt, timezone, policy and recipe; checked by the caller.

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
    with db.write() as session:
        row = instances.find_instance(session, slug)
        is_new = row is None
        if row is None:
            row = instances.insert_instance(session, slug=slug, now=now)
        before = effective(session, row).policy
        empty = {"base_model": None, "system_prompt": None, "timezone": None}
        instances.update_instance(
            session, row.id, {**empty, "policy": {}, "recipe": {}, **values}, now=now
        )
        session.refresh(row)
        after = effective(session, row)
        check_floors(after.policy.category_floors, after.policy.categories)
        if after.policy.min_salience != before.min_salience:
            statuses.regrade(session, row.id, after.policy.min_salience)
        return after, is_new


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


def find_last_event(db: Database, slug: str) -> int:
    """Number of an instance's newest event; 0 before the first. Raises: InstanceNotFound."""
    with db.read() as session:
        return events.find_last_seq(session, instances.get_instance(session, slug).id)
