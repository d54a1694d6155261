"""What killed runs and deletions left on disk: found, swept, or set aside.

    <root>/.orphans/                   published, but unknown to the registry at the last start

Knows no SQL: whoever asks says which names and cycles are known.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from filelock import FileLock, Timeout

from app.artifacts.directories import STAGING_DIRECTORY

ORPHANS_DIRECTORY = ".orphans"


SNAPSHOT_SUFFIX = ".safetensors"


EXPERIMENT_LOCK = ".lock"


def snapshot_path(directory: Path, cycle_id: str) -> Path:
    """Where the training of a cycle keeps its snapshot."""
    return directory / f"{cycle_id}{SNAPSHOT_SUFFIX}"


def forget_replies(kept: Path) -> int:
    """Delete what was kept of adapters' replies, which may repeat what was erased.

    The next cycle that needs them makes them again. Returns how many files went.
    """
    files = list(kept.glob("*/measures-*.json"))
    for file in files:
        file.unlink(missing_ok=True)
    return len(files)


def is_experiment_active(scratch: Path) -> bool:
    """Whether reproduce or calibrate is training in its scratch directory."""
    lock = FileLock(scratch / EXPERIMENT_LOCK)
    if not scratch.is_dir():
        return False
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True


def sweep_scratch(scratch: Path) -> list[str]:
    """Delete what a killed experiment left; returns the names. Nothing while one is training."""
    left = list_scratch(scratch)
    for name in left:
        shutil.rmtree(scratch / name, ignore_errors=True)
    return left


def list_scratch(scratch: Path) -> list[str]:
    """Names of the directories that a killed experiment left; none while one is training."""
    if is_experiment_active(scratch):
        return []
    return sorted(path.name for path in scratch.glob("*/") if path.is_dir())


def sweep_snapshots(directory: Path, active_cycle_ids: Collection[str]) -> list[str]:
    """Delete snapshots, and halves of them, of cycles that will not go on; returns their names."""
    dead = list_dead_snapshots(directory, active_cycle_ids)
    for name in dead:
        (directory / name).unlink(missing_ok=True)
    return dead


def list_dead_snapshots(directory: Path, active_cycle_ids: Collection[str]) -> list[str]:
    """Names of snapshots, and halves of them, of cycles that will not go on."""
    return [
        path.name
        for path in (sorted(directory.iterdir()) if directory.is_dir() else ())
        if not any(cycle_id in path.name for cycle_id in active_cycle_ids)
    ]


def sweep(
    root: Path, known_names: Collection[str], *, deleted_names: Collection[str] = ()
) -> list[str]:
    """Delete what is left of staging and of deletions; set aside what the registry lacks.

    Set aside, not deleted: the registry may be the wrong one (another database, an older backup),
    and each directory's manifest says what it is. Only for a moment without a running cycle: it
    would take its staging away.

    Returns:
        Names of what was deleted or set aside.
    """
    leftovers = list_leftovers(root, known_names)
    for name in leftovers:
        if name.startswith(f"{STAGING_DIRECTORY}/") or name in deleted_names:
            shutil.rmtree(root / name)
        else:
            aside = root / ORPHANS_DIRECTORY / name.replace("/", "-")
            aside.parent.mkdir(exist_ok=True)
            (root / name).rename(aside)
    return leftovers


def list_leftovers(root: Path, known_names: Collection[str]) -> list[str]:
    """Names of directories in staging, and of published ones that the registry lacks."""
    if not root.is_dir():
        return []
    return [
        name
        for parent in sorted(path for path in root.iterdir() if path.is_dir())
        if parent.name != ORPHANS_DIRECTORY
        for directory in sorted(path for path in parent.iterdir() if path.is_dir())
        if (name := f"{parent.name}/{directory.name}") not in known_names
    ]
