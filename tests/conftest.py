"""What all tests share: a migrated database file, a real daemon, the real embedded model."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.db.engine import Database
from app.settings import Settings
from tests.support import (
    Reopen,
    RunningDaemon,
    StartDaemon,
    changed,
    free_port,
    run_command,
    wait_until_up,
)

REPOSITORY = Path(__file__).parent.parent
SHARED_DATA = Path(os.environ.get("SAGE_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the settings, the data or the time zone of the person who runs it."""
    for name in [name for name in os.environ if name.startswith("SAGE_")]:
        if name not in {"SAGE_SHARED_DATA", "SAGE_TEST_CACHE"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("SAGE_DATA_DIR", str(tmp_path / "unset-data-dir"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real exchanges and the real Qwen2.5 tokenizer, where they lie beside the checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real exchanges are not on this machine (SAGE_SHARED_DATA)")
    return SHARED_DATA


@pytest.fixture(scope="session")
def embedded_model() -> Path:
    """The embedded model, fetched once per machine."""
    from app.training.models import fetch_embedded_model

    cache = Path(os.environ.get("SAGE_TEST_CACHE", Path.home() / ".cache" / "sage-sleep-tests"))
    return fetch_embedded_model(cache)


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file that Alembic built; tests work on copies of it."""
    directory = tmp_path_factory.mktemp("migrated")
    run_command("migrate", environment={"SAGE_DATA_DIR": str(directory)})
    return directory / "sage-sleep.db"


@pytest.fixture
def data_dir(tmp_path: Path, migrated_file: Path) -> Path:
    """A data directory with a migrated, empty database."""
    directory = tmp_path / "data"
    directory.mkdir()
    shutil.copy(migrated_file, directory / "sage-sleep.db")
    return directory


@pytest.fixture
def db(data_dir: Path) -> Iterator[Database]:
    """A database of its own for one test, with the settings' defaults."""
    settings = Settings(data_dir=data_dir)
    database = Database(settings.effective_database_url, settings.instance_defaults())
    yield database
    database.close()


@pytest.fixture
def reopen(db: Database) -> Iterator[Reopen]:
    """Open the test's database once more, as a daemon with other settings does.

    Keyword arguments replace fields of the defaults: `reopen(policy={"promotion": "manual"})`.
    """
    opened: list[Database] = []

    def open_again(**changes: Any) -> Database:
        opened.append(Database(str(db.url), changed(db.defaults, **changes)))
        return opened[-1]

    yield open_again
    for database in opened:
        database.close()


@pytest.fixture
def start_daemon(data_dir: Path, tmp_path: Path) -> Iterator[StartDaemon]:
    """Start real daemons over real sockets; they are stopped after the test.

    Keyword arguments are settings: `start_daemon(idle_seconds=0)`; with `tls`, a context that
    trusts its certificate, the daemon is spoken to over TLS. With `module`, that is run in place of
    `sage-sleep serve`.
    """
    started: list[RunningDaemon] = []

    def start(
        *, tls: ssl.SSLContext | None = None, module: str | None = None, **settings: Any
    ) -> RunningDaemon:
        port = settings.pop("port", None) or free_port()
        environment = {"SAGE_DATA_DIR": str(data_dir), "SAGE_PORT": str(port)}
        environment |= {f"SAGE_{name.upper()}": str(value) for name, value in settings.items()}
        log_path = tmp_path / f"daemon-{len(started)}.log"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *([module] if module else ["app", "serve"])],
                env={**os.environ, **environment},
                stdout=log,
                stderr=log,
            )
        scheme = "https" if tls else "http"
        address = "[::1]" if settings.get("host") == "::" else "127.0.0.1"
        http = httpx.Client(
            base_url=f"{scheme}://{address}:{port}", timeout=30, verify=tls or False
        )
        daemon = RunningDaemon(process, http, data_dir, log_path)
        started.append(daemon)
        wait_until_up(daemon)
        return daemon

    yield start
    for daemon in started:
        daemon.http.close()
        if daemon.process.poll() is None:
            daemon.process.kill()
        daemon.process.wait()
