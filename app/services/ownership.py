"""Whose an id is: a token that is bound to instances sees nothing of the others."""

from __future__ import annotations

from collections.abc import Mapping

from app.db import instances
from app.db.engine import Database
from app.db.tables import CheckpointRow, ExperienceRow, SleepCycleRow
from app.domain.access import Access
from app.errors import CheckpointNotFound, ExperienceNotFound, NotFound, SleepCycleNotFound

_Owned = type[CheckpointRow] | type[SleepCycleRow] | type[ExperienceRow]

OWNED: Mapping[str, tuple[_Owned, type[NotFound], str]] = {
    "checkpoint_id": (CheckpointRow, CheckpointNotFound, "checkpoint"),
    "cycle_id": (SleepCycleRow, SleepCycleNotFound, "sleep cycle"),
    "experience_id": (ExperienceRow, ExperienceNotFound, "experience"),
}
"""What belongs to an instance, by the name that its id has in a path."""


def require_own(db: Database, access: Access, name: str, value: str) -> None:
    """Raise what an unknown id raises, word for word, for one of a foreign instance.

    An id that is unknown passes: what it is asked of says so itself.

    Args:
        name: One of `OWNED`.

    Raises: CheckpointNotFound, SleepCycleNotFound, ExperienceNotFound.
    """
    table, not_found, noun = OWNED[name]
    with db.read() as session:
        owner = instances.find_owner(session, table, value)
    if owner is not None and not access.covers(owner):
        raise not_found(f"There is no {noun} {value!r}.")
