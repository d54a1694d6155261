"""Which process holds a SQLite database's write lock, as the kernel knows it (Linux).

A process that stops or hangs within a write keeps everybody from writing for as long as it lives.
Asking the lock itself (F_GETLK) needs an open file, and closing that would drop this process's own
locks; so `/proc/locks` is read, which names the holder of each byte.
"""

from __future__ import annotations

from pathlib import Path

LOCKS = Path("/proc/locks")

WRITE_LOCK_BYTE = 120
"""Of the database's `-shm` file: WAL_WRITE_LOCK (https://www.sqlite.org/walformat.html)."""

LAST_LOCK_BYTE = 127


def holds_write_lock(pid: int) -> bool:
    """Whether a process holds the write lock of its database; False where nothing tells."""
    try:
        lines = LOCKS.read_text().splitlines()
    except OSError:
        return False
    return any(_is_write_lock_of(pid, line.split()) for line in lines)


def last_written(database: Path | None) -> int:
    """When anybody last wrote into the database's log, in a unit of its own; 0 for never."""
    if database is None:
        return 0
    try:
        return database.with_name(f"{database.name}-wal").stat().st_mtime_ns
    except OSError:
        return 0


def _is_write_lock_of(pid: int, words: list[str]) -> bool:
    """Of a line such as `1: POSIX  ADVISORY  WRITE 20623 fe:00:2220524 120 120`."""
    match words:
        case [_, "POSIX", _, "WRITE", owner, _, first, last] if last.isdigit():
            is_there = WRITE_LOCK_BYTE in range(int(first), int(last) + 1)
            return owner == str(pid) and is_there and int(last) <= LAST_LOCK_BYTE
        case _:
            return False  # a lock of another kind, or one that is waited for
