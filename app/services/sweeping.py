"""What killed runs and deletions left on disk, told from what rows still own: found, or swept.

Must not be used while a cycle runs: its staging and its snapshot look left over.
"""

from __future__ import annotations

from pathlib import Path

from app.artifacts import leftovers
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


def sweep_leftovers(db: Database, *, root: Path, snapshots: Path, scratch: Path) -> list[str]:
    """Delete them, or set them aside where they are checkpoints of no row; returns their names."""
    with db.read() as session:
        known = checkpoints.list_names(session)
        deleted = checkpoints.list_deleted_names(session)
        active = sleep_cycles.list_active_ids(session)
    return [
        *leftovers.sweep(root, known, deleted_names=deleted),
        *leftovers.sweep_snapshots(snapshots, active),
        *leftovers.sweep_scratch(scratch),
    ]
