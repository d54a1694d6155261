"""The locks of a data directory and of its database: a daemon holds both.

So does what must not run beside one. The directory's alone is not enough: another directory with
the same `SAGE_DATABASE_URL` would be a second daemon on that database.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from app.errors import (
    DatabaseInUse,
    DatabaseUnavailable,
    DataDirectoryInUse,
    DirectoryReadOnly,
    StorageError,
)

LOCK_FILE = "daemon.lock"
DATABASE_LOCK_SUFFIX = ".lock"


@contextmanager
def hold(data_dir: Path, database: Path | None) -> Iterator[None]:
    """Make the directory if it is not there, and hold it and the database alone.

    Args:
        database: The database's file, there already or not, by whatever name; None for none.

    Raises: DataDirectoryInUse, DatabaseInUse, DatabaseUnavailable, DirectoryReadOnly.
    """
    with ExitStack() as held:
        _make(data_dir)
        held.enter_context(
            _locked(
                data_dir / LOCK_FILE,
                DataDirectoryInUse(
                    f"A daemon, or a command that must be alone, runs on {data_dir}; stop it, or "
                    "set SAGE_DATA_DIR."
                ),
            )
        )
        if database is not None:
            where = ", with another data directory; stop it, or set SAGE_DATABASE_URL"
            held.enter_context(hold_database(database, where=where))
        yield


@contextmanager
def hold_database(database: Path, *, where: str = "; stop it") -> Iterator[None]:
    """Hold a database's file alone, there already or not.

    Args:
        where: What follows the name of a database that is held by another.

    Raises: DatabaseInUse, DatabaseUnavailable, DirectoryReadOnly.
    """
    lock = _lock_of(database)
    if not lock.parent.is_dir():
        yield
        return
    busy = DatabaseInUse(
        "A daemon, or a command that must be alone, runs on the database "
        f"{database.resolve()}{where}."
    )
    with _locked(lock, busy):
        _demand_one_name(database)
        yield


def is_held(data_dir: Path, database: Path | None) -> bool:
    """Whether a daemon runs on the directory or on the database. Raises: DirectoryReadOnly."""
    locks = [data_dir / LOCK_FILE, *([] if database is None else [_lock_of(database)])]
    busy = DataDirectoryInUse("held")
    for path in locks:
        if not path.exists():
            continue
        try:
            with _locked(path, busy):
                pass
        except DataDirectoryInUse:
            return True
    return False


def _make(data_dir: Path) -> None:
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _read_only(data_dir, error) from error


@contextmanager
def _locked(path: Path, busy: StorageError) -> Iterator[None]:
    lock = FileLock(path, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise busy from error
    except OSError as error:
        raise _read_only(path.parent, error) from error
    try:
        yield
    finally:
        lock.release()


def _lock_of(database: Path) -> Path:
    """Beside the file itself, wherever a link or a relative path leads from."""
    real = database.resolve()
    return real.with_name(real.name + DATABASE_LOCK_SUFFIX)


def _demand_one_name(database: Path) -> None:
    """Under two names neither these locks nor SQLite's own log would be one."""
    if database.is_file() and (names := database.stat().st_nlink) > 1:
        raise DatabaseUnavailable(
            f"{database.resolve()} has {names} names (hard links), and SQLite damages a database "
            "that is opened by two of them; remove the others, or copy the file."
        )


def _read_only(directory: Path, error: OSError) -> DirectoryReadOnly:
    return DirectoryReadOnly(
        f"{directory} cannot be written to ({error.strerror}); make it writable, or set "
        "SAGE_DATA_DIR."
    )
