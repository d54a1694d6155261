"""A daemon, clients for it, and a server that answers as a test says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.client import SleepClient
from app.db.engine import Database
from tests.client.scripted import ScriptedServer
from tests.publishing import publish
from tests.support import RunningDaemon


@pytest.fixture
def url(daemon: RunningDaemon) -> str:
    """Where it listens."""
    return str(daemon.http.base_url)


@pytest.fixture
def client(url: str) -> Iterator[SleepClient]:
    """A client of it."""
    with SleepClient(url) as client:
        yield client


@pytest.fixture
def published(db: Database, data_dir: Path) -> list[str]:
    """Two checkpoints of `default`, the second one current."""
    root = data_dir / "checkpoints"
    return [publish(db, root, range(n, n + 20))[0] for n in (0, 20)]


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    """A server that answers as a test says."""
    with ScriptedServer() as server:
        yield server
