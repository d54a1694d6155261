"""Checkpoint directories on disk: staged, synced, published by one rename, verified, removed.

    <root>/.staging/<ulid>/            a cycle's files while they are made
    <root>/<instance>/<number>-<ulid>/ published, immutable, with manifest.json

A directory appears under its final name only when every file in it is complete and synced, so a
reader never sees half a checkpoint. Knows no SQL, torch or HTTP; every name below the root is
built by this project, never by a client.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.artifacts.disk import sync, translated_file_errors
from app.domain.checkpoint import (
    ADAPTER_FILE,
    CONFIG_FILE,
    MANIFEST_FILE,
    CheckpointFile,
)
from app.errors import (
    CheckpointFilesAltered,
    CheckpointFilesMissing,
    CheckpointFilesUnreadable,
)

STAGING_DIRECTORY = ".staging"
REMOVED_PREFIX = "removed-"
EXPORTS_DIRECTORY = ".exports"
"""Below the root: what was made of checkpoints for other runtimes (`app.artifacts.exports`)."""


Verify = Callable[[Path, str, Sequence[CheckpointFile]], None]
"""How a checkpoint's files are looked at: `verify` or `verify_sizes`."""


def staging_path(root: Path, staging_id: str) -> Path:
    """Where a cycle's files are while they are made."""
    return root / STAGING_DIRECTORY / staging_id


def stage(root: Path, staging_id: str) -> Path:
    """Create an empty staging directory, replacing what a killed run left there."""
    directory = staging_path(root, staging_id)
    if directory.exists():
        shutil.rmtree(directory)
    directory.mkdir(parents=True)
    return directory


def describe_files(directory: Path) -> tuple[CheckpointFile, ...]:
    """Name, size and sha256 of the adapter's files. Raises: CheckpointFilesMissing."""
    files = []
    for name in (CONFIG_FILE, ADAPTER_FILE):
        path = directory / name
        if not path.is_file():
            raise CheckpointFilesMissing(f"The trainer wrote no {name}.")
        files.append(describe_file(path))
    return tuple(files)


def describe_file(path: Path) -> CheckpointFile:
    """Name, size and sha256 of one file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return CheckpointFile(name=path.name, size_bytes=path.stat().st_size, sha256=digest)


def write_manifest(directory: Path, manifest: Mapping[str, Any]) -> CheckpointFile:
    """Write manifest.json and describe it."""
    path = directory / MANIFEST_FILE
    path.write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return describe_file(path)


def publish(root: Path, staged: Path, name: str) -> Path:
    """Sync a staged directory to disk and give it its final name in one rename."""
    for path in staged.iterdir():
        sync(path)
    sync(staged)
    final = root / name
    final.parent.mkdir(parents=True, exist_ok=True)
    staged.rename(final)
    sync(final.parent)
    sync(root)
    return final


def verify(root: Path, name: str, files: Sequence[CheckpointFile]) -> None:
    """Check that every file is there, with its size and sha256.

    Raises: CheckpointFilesMissing, CheckpointFilesAltered, CheckpointFilesUnreadable.
    """
    for expected in files:
        path = root / name / expected.name
        _check_size(path, name, expected)
        with _translated_read_errors(name, expected.name):
            found = describe_file(path)
        if found != expected:
            raise _altered(name, expected.name)


def verify_sizes(root: Path, name: str, files: Sequence[CheckpointFile]) -> None:
    """Check that every file is there with its size, without reading any.

    Raises: as `verify`.
    """
    for expected in files:
        _check_size(root / name / expected.name, name, expected)


class VerifiedFiles:
    """The files found to be what was published, so that none is hashed twice while it is untouched.

    Hashing 20 MB took 45 ms on a busy core, and a session asks for a checkpoint rarely, so nothing
    is served that this process has not hashed. A file counts as untouched while size, inode and
    both of its times are the same; a disk that changes bytes by itself is noticed by the next
    process, or by the daily upkeep.
    """

    def __init__(self) -> None:
        self._stamps: dict[Path, tuple[int, ...]] = {}

    def verify(self, root: Path, name: str, files: Sequence[CheckpointFile]) -> None:
        """As `verify`, of those files alone that changed since they were last verified here."""
        for expected in files:
            path = root / name / expected.name
            stamp = _stamp(_check_size(path, name, expected))
            if self._stamps.get(path) != stamp:
                verify(root, name, [expected])
                self._stamps[path] = stamp


def remove(root: Path, name: str) -> None:
    """Delete a published checkpoint's files; renamed away first, so that no half is ever seen.

    What was made of them for other runtimes goes too.

    Raises: DiskFull, DirectoryReadOnly.
    """
    directory = root / name
    with translated_file_errors():
        if directory.exists():
            doomed = root / STAGING_DIRECTORY / f"{REMOVED_PREFIX}{directory.name}"
            doomed.parent.mkdir(parents=True, exist_ok=True)
            directory.rename(doomed)
            shutil.rmtree(doomed)
        made = root / EXPORTS_DIRECTORY / name
        if made.exists():
            shutil.rmtree(made)


def _check_size(path: Path, name: str, expected: CheckpointFile) -> os.stat_result:
    try:
        with _translated_read_errors(name, expected.name):
            found = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _missing(name, expected.name) from error
    if not stat.S_ISREG(found.st_mode):
        raise _missing(name, expected.name)
    if found.st_size != expected.size_bytes:
        raise _altered(name, expected.name)
    return found


def _stamp(found: os.stat_result) -> tuple[int, ...]:
    return (found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)


def _missing(name: str, file: str) -> CheckpointFilesMissing:
    return CheckpointFilesMissing(f"{name}/{file} is gone.", file=file)


def _altered(name: str, file: str) -> CheckpointFilesAltered:
    return CheckpointFilesAltered(f"{name}/{file} is not the file that was published.", file=file)


@contextlib.contextmanager
def _translated_read_errors(name: str, file: str) -> Iterator[None]:
    """What the disk cannot read is lost; what we may not read, or not now, may be whole."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        if error.errno == errno.EIO:
            raise _altered(name, file) from error
        raise CheckpointFilesUnreadable(
            f"{name}/{file} cannot be read now: {error.strerror}.", file=file
        ) from error
