"""Daemons that tests share, one for each choice of settings, emptied before each test.

None starts a cycle by itself, and what it is asked to start fails: its base model is there, and
cannot be read.

A start costs 1.6 seconds of a core, a tenth of the suite's time when every test had its own. What
is emptied is the database and the files of checkpoints: a test finds one instance `default` that
has nothing, as after `sage-sleep migrate`. What a daemon keeps in memory goes on: what it counted
for /metrics, rates, whether a token was ever made. Tests of that, tests that end their daemon, and
tests that want it to train start their own (`start_daemon`).
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.patience import seconds_left
from tests.support import RunningDaemon, end, launch, make_client

MOST_AT_ONCE = 3
"""Each holds 90 MB."""

STAYING = frozenset(
    {
        *("sage-sleep.db", "sage-sleep.db-wal", "sage-sleep.db-shm"),
        *("daemon.lock", "sage-sleep.db.lock"),
    }
)
"""Files of the data directory that a running daemon holds open."""


class SharedDaemons:
    """All that one run of pytest has, and the directories they work in."""

    def __init__(self, migrated_file: Path, directory: Path) -> None:
        self._migrated_file = migrated_file
        self._directory = directory
        self._running: dict[frozenset[tuple[str, str]], RunningDaemon] = {}
        self._started = 0

    def lend(self, **settings: Any) -> RunningDaemon:
        """An empty daemon, for one test."""
        key = frozenset((name, str(value)) for name, value in settings.items())
        daemon = self._running.pop(key, None)
        is_open = "require_tokens" not in settings
        if daemon is not None and not is_reusable(daemon, is_open=is_open):
            self._end(daemon)
            daemon = None
        if daemon is None:
            while len(self._running) >= MOST_AT_ONCE:
                self._end(self._running.pop(next(iter(self._running))))
            daemon = self._start(settings)
        else:
            empty(daemon, self._migrated_file)
        self._running[key] = daemon
        daemon.log_starts_at = daemon.log_path.stat().st_size
        # Headers and cookies are the test's own, and so is its time.
        lent = make_client(str(daemon.http.base_url))
        return RunningDaemon(
            daemon.process, lent, daemon.data_dir, daemon.log_path, daemon.log_starts_at
        )

    def close(self) -> None:
        """End all."""
        for daemon in self._running.values():
            self._end(daemon)

    def _start(self, settings: dict[str, Any]) -> RunningDaemon:
        self._started += 1
        data_dir = self._directory / str(self._started)
        data_dir.mkdir()
        shutil.copy(self._migrated_file, data_dir / "sage-sleep.db")
        quiet: dict[str, Any] = {
            "base_model": make_broken_model(self._directory / "broken-model"),
            "scheduler_interval_seconds": 3600,
        }
        return launch(data_dir, data_dir.with_suffix(".log"), **(quiet | settings))

    def _end(self, daemon: RunningDaemon) -> None:
        end(daemon)
        shutil.rmtree(daemon.data_dir)


def make_broken_model(directory: Path) -> Path:
    """A base model that is there and cannot be read; a cycle from it fails at once."""
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text("no JSON")
    (directory / "model.safetensors").write_bytes(b"")
    return directory


def is_reusable(daemon: RunningDaemon, *, is_open: bool) -> bool:
    """Whether it still runs, left no child that would miss its cycle's row, and knows no token.

    Args:
        is_open: Whether it demands tokens only once there was one, which it never forgets.
    """
    if daemon.process.poll() is not None or b"worker.started" in daemon.log_path.read_bytes():
        return False
    with closing(sqlite3.connect(daemon.data_dir / "sage-sleep.db")) as connection:
        (made,) = connection.execute("SELECT count(*) FROM tokens").fetchone()
    return not (is_open and made)


def empty(daemon: RunningDaemon, migrated_file: Path) -> None:
    """Leave in its database what a migrated one holds, and no file beside it.

    Sequence numbers go on, and `default` gets a number that no instance had: the daemon remembers
    words and figures by it.
    """
    with closing(sqlite3.connect(migrated_file)) as migrated:
        (default,) = migrated.execute("SELECT * FROM instances").fetchall()
    path = daemon.data_dir / "sage-sleep.db"
    with closing(sqlite3.connect(path, timeout=seconds_left(), isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        (newest,) = connection.execute("SELECT max(id) FROM instances").fetchone()
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (name,) in tables.fetchall():
            if name not in {"alembic_version", "sqlite_sequence"}:
                connection.execute(f'DELETE FROM "{name}"')  # noqa: S608  # a name of the schema
        values = [newest + 1, *default[1:]]
        marks = ", ".join("?" * len(values))
        connection.execute(f"INSERT INTO instances VALUES ({marks})", values)  # noqa: S608
        connection.execute("COMMIT")
    for path in daemon.data_dir.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in STAYING:
            path.unlink()
