"""What killed runs and deletions left on disk: found, swept, or set aside.

    <root>/.orphans/                   published, but unknown to the registry at the last start

Knows no SQL: whoever asks says which names and cycles are known.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Collection
from pathlib import Path

from filelock import FileLock, Timeout

from app.artifacts.directories import EXPORTS_DIRECTORY, REMOVED_PREFIX, STAGING_DIRECTORY
from app.domain.checkpoint import MANIFEST_FILE

ORPHANS_DIRECTORY = ".orphans"


SNAPSHOT_SUFFIX = ".safetensors"


EXPERIMENT_LOCK = ".lock"

KEPT_PART_PREFIX = ".part-"
"""Of a kept file that is being written (`app.training.kept`)."""


def snapshot_path(directory: Path, cycle_id: str) -> Path:
    """Where the training of a cycle keeps its snapshot."""
    return directory / f"{cycle_id}{SNAPSHOT_SUFFIX}"


def forget_replies(kept: Path) -> int:
    """Delete what was kept of replies and system prompts, which may repeat what was erased.

    The next cycle that needs them makes them again. Returns how many files went.
    """
    files = [*kept.glob("*/measures-*.json"), *kept.glob("*/session-references-*.safetensors")]
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


def list_published(root: Path) -> frozenset[str]:
    """Names of all directories under a final name."""
    if not root.is_dir():
        return frozenset()
    return frozenset(
        f"{path.parent.name}/{path.name}"
        for path in root.glob("*/*/")
        if not path.parent.name.startswith(".")
    )


def find_maker(root: Path, name: str) -> str | None:
    """Id of the cycle that published a checkpoint, by its manifest; None where that is silent."""
    try:
        manifest = json.loads((root / name / MANIFEST_FILE).read_text(encoding="utf-8"))
        return str(manifest["cycle"]["id"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def sweep_staging(root: Path) -> list[str]:
    """Delete what a dead worker had staged; returns the names. What is being removed is not its."""
    staged = root / STAGING_DIRECTORY
    left = [
        path
        for path in (sorted(staged.iterdir()) if staged.is_dir() else ())
        if not path.name.startswith(REMOVED_PREFIX)
    ]
    for path in left:
        shutil.rmtree(path, ignore_errors=True)
    return [path.name for path in left]


def sweep_kept(kept: Path) -> list[str]:
    """Delete halves of kept files that a kill left; returns their names."""
    halves = sorted(kept.glob(f"*/{KEPT_PART_PREFIX}*"))
    for half in halves:
        with contextlib.suppress(OSError):
            half.unlink()
    return [half.name for half in halves]


def list_aside(root: Path) -> list[Path]:
    """What was set aside."""
    aside = root / ORPHANS_DIRECTORY
    return sorted(aside.iterdir()) if aside.is_dir() else []


def find_aside(root: Path, name: str) -> Path | None:
    """Where a checkpoint of this name was set aside; None for nowhere."""
    aside = _aside(root, name)
    return aside if aside.is_dir() else None


def bring_back(root: Path, known_names: Collection[str]) -> list[str]:
    """Put back what was set aside and has a row after all; returns the names.

    What stands in its place meanwhile is not touched.
    """
    if not list_aside(root):
        return []
    back = []
    for name in sorted(known_names):
        aside = find_aside(root, name)
        if aside is None or (root / name).exists():
            continue
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        aside.rename(root / name)
        back.append(name)
    return back


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
            aside = _aside(root, name)
            aside.parent.mkdir(exist_ok=True)
            (root / name).rename(_free(aside))
    return leftovers


def list_leftovers(root: Path, known_names: Collection[str]) -> list[str]:
    """Names of directories in staging, and of published ones that the registry lacks."""
    if not root.is_dir():
        return []
    return [
        name
        for parent in sorted(path for path in root.iterdir() if path.is_dir())
        if parent.name not in {ORPHANS_DIRECTORY, EXPORTS_DIRECTORY}
        for directory in sorted(path for path in parent.iterdir() if path.is_dir())
        if (name := f"{parent.name}/{directory.name}") not in known_names
    ]


def _aside(root: Path, name: str) -> Path:
    return root / ORPHANS_DIRECTORY / name.replace("/", "-")


def _free(path: Path) -> Path:
    """The path, or the same with the first number behind it that nothing has."""
    number = 1
    free = path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}.{number}")
    return free
