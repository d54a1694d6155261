"""Backups: a consistent copy of the database, and the checkpoints it lists, each file verified.

    <target>/backup.json              what it is, with size and sha256 of every file
    <target>/sage-sleep.db            one consistent state, without a write-ahead log
    <target>/checkpoints/<name>/      published files

Files are copied: a hard link is the same file, and what harms the one harms the other. Where the
file system can, a copy shares its blocks with the original until one of them is written, a reflink,
which takes no room and no time; that guards against what is written, deleted or encrypted, and not
against a disk that fails, so that a backup belongs on another one.

A restore takes what is whole. Without its database a backup is nothing; a checkpoint whose files
are not whole stays behind, is named, and becomes `damaged` when the daemon starts.

A target appears under its name only when all of it is complete and synced. A backup holds every
text of its time, erased since or not, and every token, revoked since or not: it is the operator's
to guard and to delete. Must not know HTTP or settings.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from app.artifacts import directories, disk, pair_marks
from app.artifacts.pair_marks import CHECKPOINTS_MARK
from app.clock import new_id
from app.db import copies
from app.db.damage_mark import DamageMark
from app.db.engine import SCHEMA_REVISION
from app.domain.checkpoint import CheckpointFile
from app.domain.stored import from_json, to_json
from app.errors import (
    ArtifactError,
    BackupTargetInUse,
    BackupUnusable,
    DataDirectoryNotEmpty,
)

MANIFEST_FILE = "backup.json"
DATABASE_FILE = "sage-sleep.db"
CHECKPOINTS = "checkpoints"
FORMAT = 1
MAX_TRIES = 3
"""A checkpoint that is deleted while it is copied makes the state an older one: taken again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Backup:
    """What a backup holds.

    Attributes:
        revision: Of the database's schema.
        left_out: Names of checkpoints whose files were gone or altered when it was made.
    """

    format: int = FORMAT
    created_at: str
    version: str
    revision: str
    database: CheckpointFile
    checkpoints: dict[str, list[CheckpointFile]]
    left_out: Sequence[str]

    @property
    def size_bytes(self) -> int:
        """All files together."""
        files = (file for listed in self.checkpoints.values() for file in listed)
        return self.database.size_bytes + sum(file.size_bytes for file in files)


@dataclass(frozen=True, kw_only=True, slots=True)
class Restored:
    """What became of a backup.

    Attributes:
        damaged: Names of checkpoints whose files in the backup are not whole; not restored.
        aside: Where the old state lies; None where there was none.
    """

    backup: Backup
    damaged: Sequence[str]
    aside: Path | None

    @property
    def checkpoints(self) -> list[str]:
        """Names of those that are restored."""
        return [name for name in self.backup.checkpoints if name not in self.damaged]


@dataclass(frozen=True, kw_only=True, slots=True)
class DataPlaces:
    """Where a data directory keeps what a backup holds, and what belongs to that state alone."""

    data_dir: Path
    database: Path
    checkpoints: Path
    snapshots: Path
    kept: Path


def make_backup(
    target: Path, *, database: Path, root: Path, links: bool, version: str, now: datetime
) -> Backup:
    """Back up into a directory that is empty or not there; a daemon may run.

    Args:
        root: Where the checkpoints lie.
        links: Hard-link checkpoints' files where the disk is the same one, instead of copying
            them: they take no room then, and a byte that changes in place changes in both.

    Raises: BackupTargetInUse, DatabaseUnavailable, DiskFull, DirectoryReadOnly.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BackupTargetInUse(f"{target} is not empty; name a directory that is not there yet.")
    with disk.translated_file_errors():
        target.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, MAX_TRIES + 1):
            staged = target.with_name(f".{target.name}.part-{new_id()}")
            staged.mkdir(mode=0o700)
            try:
                backup = _stage(staged, database, root, links=links, version=version, now=now)
                if attempt < MAX_TRIES and _were_deleted(database, backup.left_out):
                    continue
                disk.sync_tree(staged)
                staged.rename(target)
                disk.sync_tree(target.parent, recursive=False)
                return backup
            finally:
                shutil.rmtree(staged, ignore_errors=True)
    raise AssertionError("the last attempt returns")


def read_backup(source: Path) -> tuple[Backup, list[str]]:
    """Read a backup, and verify its database and then every checkpoint of it.

    Returns:
        The backup, and the names of checkpoints that are not whole.

    Raises: BackupUnusable, also where the database is not whole.
    """
    try:
        found = json.loads((source / MANIFEST_FILE).read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise BackupUnusable(f"{source} has format {found['format']!r}, not {FORMAT}.")
        backup = from_json(Backup, found)
    except FileNotFoundError as error:
        raise BackupUnusable(f"{source} is no backup: it has no {MANIFEST_FILE}.") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BackupUnusable(f"{source / MANIFEST_FILE} cannot be read.") from error
    for name in backup.checkpoints:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise BackupUnusable(f"{source} names a checkpoint {name!r}, which is none.")
    if backup.revision > SCHEMA_REVISION:
        raise BackupUnusable(
            f"{source} is of a newer version: revision {backup.revision}, and this one knows "
            f"{SCHEMA_REVISION}."
        )
    try:
        directories.verify(source, ".", [backup.database])
    except ArtifactError as error:
        raise BackupUnusable(
            f"The database of {source} is damaged, so nothing can be restored: {error.message}"
        ) from error
    return backup, [
        name
        for name, files in backup.checkpoints.items()
        if not _is_whole(source / CHECKPOINTS, name, files)
    ]


def restore(source: Path, *, places: DataPlaces, replaces: bool, now: datetime) -> Restored:
    """Put what is whole of a backup in place, after every file is verified; no daemon may run.

    Args:
        replaces: Move what is there aside; without it, it must not be there.

    Raises: BackupUnusable, DataDirectoryNotEmpty, DiskFull, DirectoryReadOnly.
    """
    backup, damaged = read_backup(source)
    present = _present(places)
    if present and not replaces:
        raise DataDirectoryNotEmpty(
            f"{places.data_dir} holds a state already ({present[0].name}); with --replace it is "
            "moved aside."
        )
    stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    staged = places.data_dir / f".restoring-{stamp}"
    aside = places.data_dir / f"replaced-{stamp}"
    with disk.translated_file_errors():
        try:
            staged.mkdir(parents=True, mode=0o700)
            disk.copy_file(source / DATABASE_FILE, staged / DATABASE_FILE)
            directories.verify(staged, ".", [backup.database])
            (staged / DATABASE_FILE).chmod(0o600)
            for name, files in backup.checkpoints.items():
                if name not in damaged and not _bring_whole(source, staged, name, files):
                    damaged.append(name)
            disk.sync_tree(staged)
            if present:
                aside.mkdir(mode=0o700)
                for path in present:
                    shutil.move(path, aside / path.name)
            if (staged / CHECKPOINTS).exists():
                pair_marks.remove_marks(places.data_dir, places.checkpoints)
                if places.checkpoints.exists():
                    places.checkpoints.rmdir()
                (staged / CHECKPOINTS).rename(places.checkpoints)
            if pair_id := copies.find_pair_id(staged / DATABASE_FILE):
                pair_marks.write_marks(places.data_dir, places.checkpoints, pair_id)
            else:
                pair_marks.remove_marks(places.data_dir, places.checkpoints)
            # Last: without a database no daemon starts on a half of it.
            places.database.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(staged / DATABASE_FILE, places.database)
            DamageMark(places.database).clear()
            disk.sync_tree(places.data_dir, recursive=False)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    return Restored(backup=backup, damaged=damaged, aside=aside if present else None)


def _stage(
    staged: Path, database: Path, root: Path, *, links: bool, version: str, now: datetime
) -> Backup:
    copies.copy_database(database, staged / DATABASE_FILE)
    listed = copies.list_ready_checkpoints(staged / DATABASE_FILE)
    left_out = []
    for name, files in listed.items():
        try:
            _bring(root / name, staged / CHECKPOINTS / name, files, links=links)
            directories.verify(staged / CHECKPOINTS, name, files)
        except (FileNotFoundError, ArtifactError):
            shutil.rmtree(staged / CHECKPOINTS / name, ignore_errors=True)
            left_out.append(name)
    backup = Backup(
        created_at=now.isoformat(),
        version=version,
        revision=copies.read_revision(staged / DATABASE_FILE),
        database=directories.describe_file(staged / DATABASE_FILE),
        checkpoints={name: files for name, files in listed.items() if name not in left_out},
        left_out=left_out,
    )
    (staged / MANIFEST_FILE).write_text(json.dumps(to_json(backup), indent=2), encoding="utf-8")
    return backup


def _bring(source: Path, target: Path, files: Iterable[CheckpointFile], *, links: bool) -> None:
    target.mkdir(parents=True)
    for file in files:
        if links:
            try:
                os.link(source / file.name, target / file.name)
                continue
            except FileNotFoundError:
                raise
            except OSError:  # another disk, or one without links
                pass
        disk.copy_file(source / file.name, target / file.name)


def _bring_whole(source: Path, staged: Path, name: str, files: Sequence[CheckpointFile]) -> bool:
    """Copy a checkpoint out of a backup; whether it arrived whole. Half of one is removed."""
    try:
        _bring(source / CHECKPOINTS / name, staged / CHECKPOINTS / name, files, links=False)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno != errno.EIO:  # the disk that the backup lies on
            raise
    if _is_whole(staged / CHECKPOINTS, name, files):
        return True
    shutil.rmtree(staged / CHECKPOINTS / name, ignore_errors=True)
    return False


def _is_whole(root: Path, name: str, files: Sequence[CheckpointFile]) -> bool:
    try:
        directories.verify(root, name, files)
    except ArtifactError:
        return False
    return True


def _were_deleted(database: Path, names: Sequence[str]) -> bool:
    return bool(names) and not set(names) <= set(copies.list_ready_checkpoints(database))


def _present(places: DataPlaces) -> list[Path]:
    """What belongs to the state that is there; the base model belongs to any."""
    beside = [places.database.with_name(places.database.name + end) for end in ("-wal", "-shm")]
    directories = [places.checkpoints, places.snapshots, places.kept]
    return [
        path
        for path in (places.database, *beside, *directories)
        if path.is_file()
        or (path.is_dir() and any(held.name != CHECKPOINTS_MARK for held in path.iterdir()))
    ]
