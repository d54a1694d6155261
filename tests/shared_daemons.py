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
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from tests.patience import seconds_left
from tests.support import RunningDaemon, end, launch, make_client

if TYPE_CHECKING:
    from tests.postgres.server import PostgresServer

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

    def __init__(
        self, migrated_file: Path, directory: Path, server: PostgresServer | None = None
    ) -> None:
        self._migrated_file = migrated_file
        self._server = server
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
        return replace(daemon, http=lent)

    def close(self) -> None:
        """End all."""
        for daemon in self._running.values():
            self._end(daemon)

    def _start(self, settings: dict[str, Any]) -> RunningDaemon:
        self._started += 1
        data_dir = self._directory / str(self._started)
        data_dir.mkdir()
        quiet: dict[str, Any] = {
            "base_model": make_broken_model(self._directory / "broken-model"),
            "scheduler_interval_seconds": 3600,
        }
        if self._server is None:
            shutil.copy(self._migrated_file, data_dir / "sage-sleep.db")
        else:
            quiet["database_url"] = self._server.lend()
        return launch(data_dir, data_dir.with_suffix(".log"), **(quiet | settings))

    def _end(self, daemon: RunningDaemon) -> None:
        end(daemon)
        shutil.rmtree(daemon.data_dir)
        if self._server is not None and daemon.database_url is not None:
            self._server.take_back(daemon.database_url)


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
    url = daemon.database_url or f"sqlite:///{daemon.data_dir / 'sage-sleep.db'}"
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        made = connection.scalar(sa.text("SELECT count(*) FROM tokens"))
    return not (is_open and made)


def empty(daemon: RunningDaemon, migrated_file: Path) -> None:
    """Leave in its database what a migrated one holds, and no file beside it.

    Sequence numbers go on, and `default` gets a number that no instance had: the daemon remembers
    words and figures by it.
    """
    if daemon.database_url is None:
        _empty_file(daemon.data_dir / "sage-sleep.db", migrated_file)
    else:
        from tests.postgres import server

        server.empty(daemon.database_url)
    for path in daemon.data_dir.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in STAYING:
            path.unlink()


def _empty_file(path: Path, migrated_file: Path) -> None:
    with closing(sqlite3.connect(migrated_file)) as migrated:
        (default,) = migrated.execute("SELECT * FROM instances").fetchall()
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
