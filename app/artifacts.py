"""Checkpoint directories on disk: staged, synced, published by one rename, verified, swept.

    <root>/.staging/<ulid>/            a cycle's files while they are made
    <root>/<instance>/<number>-<ulid>/ published, immutable, with manifest.json
    <root>/.orphans/                   published, but unknown to the registry at the last start

A directory appears under its final name only when every file in it is complete and synced, so a
reader never sees half a checkpoint. Knows no SQL, torch or HTTP; every name below the root is
built by this project, never by a client.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
import stat
import tarfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

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
    DirectoryReadOnly,
    DiskFull,
)

STAGING_DIRECTORY = ".staging"
ORPHANS_DIRECTORY = ".orphans"
SNAPSHOT_SUFFIX = ".safetensors"
EXPERIMENT_LOCK = ".lock"
CHUNK_BYTES = 1 << 20

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})

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
        _sync(path)
    _sync(staged)
    final = root / name
    final.parent.mkdir(parents=True, exist_ok=True)
    staged.rename(final)
    _sync(final.parent)
    _sync(root)
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

    Raises: DiskFull, DirectoryReadOnly.
    """
    directory = root / name
    with translated_file_errors():
        if directory.exists():
            doomed = root / STAGING_DIRECTORY / f"removed-{directory.name}"
            doomed.parent.mkdir(parents=True, exist_ok=True)
            directory.rename(doomed)
            shutil.rmtree(doomed)


def forget_replies(kept: Path) -> int:
    """Delete what was kept of adapters' replies, which may repeat what was erased.

    The next cycle that needs them makes them again. Returns how many files went.
    """
    files = list(kept.glob("*/measures-*.json"))
    for file in files:
        file.unlink(missing_ok=True)
    return len(files)


def snapshot_path(directory: Path, cycle_id: str) -> Path:
    """Where the training of a cycle keeps its snapshot."""
    return directory / f"{cycle_id}{SNAPSHOT_SUFFIX}"


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Archive:
    """An uncompressed tar of a checkpoint that is never written to disk.

    Headers and padding are made here and the files lie between them, so its length is known, any
    range can be read, and the same checkpoint gives the same bytes (one owner, one time, one
    order).
    """

    parts: tuple[bytes | Path, ...]
    sizes: tuple[int, ...]

    def check_present(self) -> None:
        """Raise CheckpointFilesMissing unless every file is there with its size."""
        for part, size in zip(self.parts, self.sizes, strict=True):
            if isinstance(part, Path) and not (part.is_file() and part.stat().st_size == size):
                raise CheckpointFilesMissing(
                    f"{part.name} is gone from the disk, or has another size.", file=part.name
                )

    @property
    def size_bytes(self) -> int:
        """Length of the whole archive."""
        return sum(self.sizes)

    @property
    def sha256(self) -> str:
        """SHA-256 of the whole archive, hex."""
        digest = hashlib.sha256()
        for chunk in self.read(0, self.size_bytes):
            digest.update(chunk)
        return digest.hexdigest()

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes from `start` up to, without, `end` in chunks."""
        offset = 0
        for part, size in zip(self.parts, self.sizes, strict=True):
            first, last = max(start - offset, 0), min(end - offset, size)
            offset += size
            if first >= last:
                continue
            with contextlib.closing(
                io.BytesIO(part) if isinstance(part, bytes) else part.open("rb")
            ) as source:
                source.seek(first)
                remaining = last - first
                while remaining and (chunk := source.read(min(CHUNK_BYTES, remaining))):
                    remaining -= len(chunk)
                    yield chunk


def build_archive(directory: Path, archive_root: str, files: Sequence[CheckpointFile]) -> Archive:
    """Describe the tar of a checkpoint; its entries are `<archive_root>/<file name>`."""
    parts: list[bytes | Path] = []
    sizes: list[int] = []
    for file in files:
        info = tarfile.TarInfo(f"{archive_root}/{file.name}")
        info.size = file.size_bytes
        info.mode = 0o644
        header = info.tobuf(format=tarfile.PAX_FORMAT)
        padding = b"\0" * (-file.size_bytes % tarfile.BLOCKSIZE)
        parts += [header, directory / file.name, padding]
        sizes += [len(header), file.size_bytes, len(padding)]
    end = b"\0" * (2 * tarfile.BLOCKSIZE)
    return Archive(parts=(*parts, end), sizes=(*sizes, len(end)))


def sync_tree(directory: Path, *, recursive: bool = True) -> None:
    """Sync a directory, and all that is in it, to disk."""
    if recursive:
        for path in directory.rglob("*"):
            _sync(path)
    _sync(directory)


@contextlib.contextmanager
def translated_file_errors() -> Iterator[None]:
    """Turn a full or read-only disk into an error of ours; any other stays what it is.

    Raises: DiskFull, DirectoryReadOnly.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise DiskFull("The disk has no room left; free some, then try again.") from error
        if error.errno in READ_ONLY:
            raise DirectoryReadOnly(
                f"Files cannot be written ({error.strerror}): see `sage-sleep doctor`."
            ) from error
        raise


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


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
