"""What of an instance should be live in another runtime, and what that runtime must be told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.db import checkpoints, instances
from app.db.engine import Database, defaults_of
from app.domain.checkpoint import Alias
from app.services.instances import load_effective
from app.services.registry import CheckpointView, view_within


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveModel:
    """What an instance's sessions should talk to.

    Attributes:
        checkpoint: What is current; None for the bare base.
        model_name: What its runtime calls the base, where that is known.
        keep: How many older models a runtime should keep beside it.
    """

    instance: str
    checkpoint: CheckpointView | None
    system_prompt: str
    model_name: str | None
    keep: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Brought:
    """What a runtime calls what is live now; None where that is the bare base."""

    model: str | None
    checkpoint_id: str | None


def list_pushed(db: Database, flag: str) -> Sequence[str]:
    """Slugs of the instances whose policy brings what is live into a runtime, by its field.

    Without those that have settings which cannot be used: nothing of them moves by itself.
    """
    with db.read() as session:
        default = bool(getattr(defaults_of(session).policy, flag))
        slugs = instances.list_with(session, flag, default=default)
        return [slug for slug in slugs if not load_effective(session, slug).faults]


def find_live(db: Database, slug: str) -> LiveModel:
    """What is live of an instance. Raises: InstanceNotFound."""
    with db.read() as session:
        instance = load_effective(session, slug)
        current = checkpoints.find_alias_target(session, instance.row.id, Alias.CURRENT)
        return LiveModel(
            instance=slug,
            checkpoint=view_within(session, current) if current else None,
            system_prompt=instance.system_prompt,
            model_name=instance.row.model_name,
            keep=instance.policy.ollama_models_kept,
        )


def bring_live(db: Database, slug: str, bring: Callable[[LiveModel], Brought]) -> Brought:
    """Bring what is live of an instance, and again where something else went live meanwhile.

    Raises: InstanceNotFound; what `bring` raises.
    """
    while True:
        live = find_live(db, slug)
        brought = bring(live)
        if _id_of(find_live(db, slug)) == _id_of(live):
            return brought


def _id_of(live: LiveModel) -> str | None:
    return live.checkpoint.row.id if live.checkpoint else None
