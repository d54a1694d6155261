"""Writing durably: files copied, synced to disk, and what a full or read-only disk raises."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from app.errors import (
    DirectoryReadOnly,
    DiskFull,
)

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


FICLONE = 0x40049409
"""Linux's ioctl that lets a file share another's blocks (`linux/fs.h`); others refuse it."""


def sync_tree(directory: Path, *, recursive: bool = True) -> None:
    """Sync a directory, and all that is in it, to disk."""
    if recursive:
        for path in directory.rglob("*"):
            sync(path)
    sync(directory)


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


def copy_file(source: Path, target: Path) -> None:
    """Copy a file's content into a new one, as a reflink where the file system can."""
    with source.open("rb") as origin, target.open("xb") as copy:
        with contextlib.suppress(OSError):  # another disk, or a file system that cannot
            fcntl.ioctl(copy.fileno(), FICLONE, origin.fileno())
            return
        shutil.copyfileobj(origin, copy)


def sync(path: Path) -> None:
    """Sync one file, or the entries of one directory, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
