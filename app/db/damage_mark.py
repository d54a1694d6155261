"""The mark beside a database that damage was seen in: until a person acts, nothing is written.

SQLite goes on writing where it happens not to meet what is damaged, and who posted believes that it
is kept. A file, since damage is no matter of one process: daemon, training process and commands see
it, and a restart by a service manager is nobody who acted.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

SUFFIX = ".damaged"


class DamageMark:
    """The mark of one database; without a file for it, the memory of this process."""

    def __init__(self, database: Path | None) -> None:
        self._path = database.with_name(database.name + SUFFIX) if database else None
        self._is_set = False

    @property
    def is_set(self) -> bool:
        """Whether damage was seen; costs a look at the directory."""
        return self._is_set or (self._path is not None and self._path.exists())

    def set(self) -> bool:
        """Remember damage; returns whether it is news."""
        if self.is_set:
            return False
        self._is_set = True
        if self._path is not None:
            with suppress(OSError):  # no room, or read-only: this process remembers
                self._path.touch()
        return True

    def clear(self) -> None:
        """Somebody acted."""
        self._is_set = False
        if self._path is not None:
            self._path.unlink(missing_ok=True)
