"""Who is talked to: the instance, the checkpoint and the base behind a `model`'s name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from app.db import checkpoints, experiences, instances
from app.db.engine import Database
from app.db.tables import ExperienceRow
from app.domain.chat import BASE, ModelName
from app.domain.checkpoint import Alias
from app.errors import (
    BaseModelUnnamed,
    CheckpointNotFound,
    IdempotencyKeyReused,
    NoCandidate,
    NoPreviousCheckpoint,
)
from app.services.instances import effective, load_effective
from app.services.registry import CheckpointView, view_within


@dataclass(frozen=True, kw_only=True, slots=True)
class Spoken:
    """Who answers.

    Attributes:
        checkpoint: None for the bare base.
        base_model: The instance's, as a hub id or a directory.
    """

    instance: str
    checkpoint: CheckpointView | None
    base_model: str
    system_prompt: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Answering:
    """A process that waits for one conversation.

    Attributes:
        base: The name of the base model.
        control_tokens: Its own, which no message may hold.
        url: Where it listens.
        key: What it answers to.
        release: To be called once when its reply is whole, or nobody waits for it any more.
    """

    spoken: Spoken
    base: str
    control_tokens: tuple[str, ...]
    url: str
    key: str
    release: Callable[[], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """A name that can be talked to, and since when there is what it names."""

    name: str
    since: datetime


def find_spoken(db: Database, name: ModelName) -> Spoken:
    """Who answers to a name now.

    Raises: InstanceNotFound, CheckpointNotFound, NoPreviousCheckpoint, NoCandidate,
        BaseModelUnnamed.
    """
    with db.read() as session:
        checkpoint_id = None if name.instance is not None else name.which
        slug = name.instance or view_within(session, name.which).instance
        instance = load_effective(session, slug)
        if name.instance is not None:
            checkpoint_id = _find_named(session, instance.row.id, name)
        view = None if checkpoint_id is None else view_within(session, checkpoint_id)
        if view is None and instance.base_unnamed is not None:
            raise BaseModelUnnamed(f"{slug} cannot be talked to: {instance.base_unnamed}.")
        return Spoken(
            instance=slug,
            checkpoint=view,
            base_model=instance.base_model,
            system_prompt=instance.system_prompt,
        )


def _find_named(session: Session, instance_id: int, name: ModelName) -> str | None:
    """The checkpoint's id; None for the bare base."""
    if name.which == BASE:
        return None
    if name.which in set(Alias):
        found = checkpoints.find_alias_target(session, instance_id, Alias(name.which))
        if found is None and name.which == Alias.PREVIOUS:
            raise NoPreviousCheckpoint(f"{name.instance} has no checkpoint before its current one.")
        if found is None and name.which == Alias.CANDIDATE:
            raise NoCandidate(f"{name.instance} has no candidate.")
        return found
    row = checkpoints.get_checkpoint(session, name.which)
    if row.instance_id != instance_id:
        # As of one that is not there at all: what others have is not told.
        raise CheckpointNotFound(f"There is no checkpoint {name.which!r}.")
    return row.id


def find_named(db: Database, name: ModelName) -> tuple[Spoken, datetime]:
    """Who answers to a name now, and since when there is that. Raises: as `find_spoken`."""
    spoken = find_spoken(db, name)
    if spoken.checkpoint is not None:
        return spoken, spoken.checkpoint.row.created_at
    with db.read() as session:
        return spoken, instances.get_instance(session, spoken.instance).created_at


def find_kept(db: Database, slug: str, key: str, prompt: str) -> ExperienceRow | None:
    """The exchange that was kept with this key, to answer with it again; None before it was.

    Raises: InstanceNotFound; IdempotencyKeyReused: It was another prompt's.
    """
    with db.read() as session:
        instance = instances.get_instance(session, slug)
        row = experiences.find_by_key(session, instance.id, key)
    if row is not None and row.prompt != prompt:
        raise IdempotencyKeyReused(
            "This Idempotency-Key was used for another exchange; use a new key.",
            experience_id=row.id,
        )
    return row


def list_spoken(db: Database, *, within: Collection[str] | None = None) -> Sequence[Listed]:
    """All names that can be talked to: each instance, its base, and what its aliases name."""
    found: list[Listed] = []
    with db.read() as session:
        for row in instances.list_instances(session, within=within):
            found.append(Listed(name=row.slug, since=row.created_at))
            if effective(session, row).base_unnamed is None:
                found.append(Listed(name=f"{row.slug}@{BASE}", since=row.created_at))
            for alias in Alias:
                target = checkpoints.find_alias_target(session, row.id, alias)
                if target is not None:
                    since = checkpoints.get_checkpoint(session, target).created_at
                    found.append(Listed(name=f"{row.slug}@{alias}", since=since))
    return found
