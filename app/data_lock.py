"""The lock of a data directory: a daemon holds it, and so does what must not run beside one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from app.errors import DataDirectoryInUse, DirectoryReadOnly

LOCK_FILE = "daemon.lock"


@contextmanager
def hold(data_dir: Path) -> Iterator[None]:
    """Make the directory if it is not there, and hold it alone.

    Raises: DataDirectoryInUse, DirectoryReadOnly.
    """
    lock = FileLock(data_dir / LOCK_FILE, timeout=0, thread_local=False)
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise DataDirectoryInUse(
            f"A daemon, or a command that must be alone, runs on {data_dir}; stop it, or set "
            "SAGE_DATA_DIR."
        ) from error
    except OSError as error:
        raise DirectoryReadOnly(
            f"{data_dir} cannot be written to ({error.strerror}); make it writable, or set "
            "SAGE_DATA_DIR."
        ) from error
    try:
        yield
    finally:
        lock.release()


def is_held(data_dir: Path) -> bool:
    """Whether a daemon runs on the directory. Raises: DirectoryReadOnly."""
    if not (data_dir / LOCK_FILE).exists():
        return False
    try:
        with hold(data_dir):
            return False
    except DataDirectoryInUse:
        return True
