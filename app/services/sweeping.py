"""What killed runs and deletions left on disk, told from what rows still own: found, or swept.

Must not be used while a cycle runs: its staging and its snapshot look left over. A checkpoint of no
row is deleted where one of this database's cycles made it, which was killed, or found the database
full, before it could register it: the cycle was run again, or ended otherwise. Any other is
somebody's, and is set aside.
"""

from __future__ import annotations

from pathlib import Path

from app.artifacts import directories, leftovers
from app.db import checkpoints, sleep_cycles
from app.db.engine import Database


def find_leftovers(db: Database, *, root: Path, snapshots: Path, scratch: Path) -> list[str]:
    """Names of what is left over; `root` is where checkpoints lie."""
    with db.read() as session:
        known = checkpoints.list_names(session)
        active = sleep_cycles.list_active_ids(session)
    return [
        *leftovers.list_leftovers(root, known),
        *leftovers.list_dead_snapshots(snapshots, active),
        *leftovers.list_scratch(scratch),
    ]


def return_set_aside(db: Database, *, root: Path) -> list[str]:
    """Put back checkpoints that were set aside and have a row after all; returns their names."""
    with db.read() as session:
        known = checkpoints.list_names(session)
    return leftovers.bring_back(root, known)


def sweep_worker(db: Database, *, root: Path) -> list[str]:
    """Delete what a dead worker staged, or published and did not register; returns the names.

    For a running daemon, whose other parts may be deleting checkpoints meanwhile. What a damaged
    database says must not decide what goes.
    """
    if db.damage_mark.is_set:
        return []
    unregistered = _list_unregistered(db, root)
    for name in unregistered:
        directories.remove(root, name)
    return [*unregistered, *leftovers.sweep_staging(root)]


def sweep_leftovers(db: Database, *, root: Path, snapshots: Path, scratch: Path) -> list[str]:
    """Delete them, or set them aside where they are checkpoints of no row; returns their names."""
    with db.read() as session:
        known = checkpoints.list_names(session)
        deleted = checkpoints.list_deleted_names(session)
        active = sleep_cycles.list_active_ids(session)
    return [
        *leftovers.sweep(root, known, deleted_names={*deleted, *_list_unregistered(db, root)}),
        *leftovers.sweep_snapshots(snapshots, active),
        *leftovers.sweep_scratch(scratch),
    ]


def _list_unregistered(db: Database, root: Path) -> list[str]:
    published = leftovers.list_published(root)
    with db.read() as session:
        rowless = published - checkpoints.list_names(session)
        rowless -= checkpoints.list_deleted_names(session)
        makers = {name: leftovers.find_maker(root, name) for name in rowless}
        own = sleep_cycles.list_known(session, {maker for maker in makers.values() if maker})
    return sorted(name for name, maker in makers.items() if maker in own)
