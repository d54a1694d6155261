"""What all tests share: a migrated database file, a real daemon, the real embedded model."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from app.db.engine import Database
from app.settings import Settings
from tests import patience
from tests.shared_daemons import SharedDaemons
from tests.support import Reopen, RunningDaemon, StartDaemon, changed, end, launch

if TYPE_CHECKING:
    from tests.postgres.server import PostgresServer

REPOSITORY = Path(__file__).parent.parent
LONG = frozenset({"postgres", "torture", "fuzz", "worker", "training", "exports"})
LONGEST = (
    *("worker/test_learning.py", "exports/test_embedded.py", "torture/test_torture.py"),
    *("training/test_job.py", "worker/test_interruption.py"),
    *("fuzz/test_api.py", "worker/test_experiment.py"),
)
IS_POSTGRES = os.environ.get("SAGE_TEST_DATABASE", "sqlite") == "postgresql"
"""Whether the tests' databases are a PostgreSQL server's; else each is a file."""

SHARED_DATA = Path(os.environ.get("SAGE_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))

# Hypothesis takes a slow example for a fault, and so a busy machine.
settings.register_profile(
    "busy", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy")


def pytest_configure() -> None:
    """Share the cores out among the workers, before torch is imported.

    A pool of two threads beside a busy core spins at its barriers: two processes with tiny models
    took 34.5 s of processor time each on two cores, 25.7 s with sleeping threads, and 22.1 s with
    one thread. Daemons and children inherit it, so that all make the same bytes.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # A shell's background job ignores it, and so would every process that a test interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Start the clock that the test's waits follow."""
    patience.begin(item)
    return (yield)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take minutes, so that none is left for one core at the end.

    What is about SQLite's own file is no test of another engine.
    """
    for item in items:
        about_file = item.get_closest_marker("sqlite_file")
        if IS_POSTGRES and about_file is not None:
            item.add_marker(pytest.mark.skip(reason=f"SQLite's alone: {about_file.args[0]}"))
    items.sort(key=lambda item: (_place(item.path), item.path.parent.name not in LONG))


def _place(file: Path) -> int:
    ends = (place for place, name in enumerate(LONGEST) if file.as_posix().endswith(name))
    return next(ends, len(LONGEST))


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the settings, the data or the time zone of the person who runs it."""
    for name in [name for name in os.environ if name.startswith("SAGE_")]:
        if name not in {"SAGE_SHARED_DATA", "SAGE_TEST_CACHE", "SAGE_TEST_DATABASE"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("SAGE_DATA_DIR", str(tmp_path / "unset-data-dir"))
    # A child that lets all else go first gets a tenth of a busy machine.
    monkeypatch.setenv("SAGE_CHILD_NICENESS", "0")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real exchanges and the real Qwen2.5 tokenizer, where they lie beside the checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real exchanges are not on this machine (SAGE_SHARED_DATA)")
    return SHARED_DATA


@pytest.fixture(scope="session")
def embedded_model() -> Path:
    """The embedded model, fetched once per machine."""
    from app.training.fetching import fetch_embedded_model

    cache = Path(os.environ.get("SAGE_TEST_CACHE", Path.home() / ".cache" / "sage-sleep-tests"))
    return fetch_embedded_model(cache)


@pytest.fixture(scope="session")
def tiny_model(embedded_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two thin layers of random weights, and the embedded model's first tokens."""
    from tests.tiny import make_tiny_model

    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny", tokenizer_of=embedded_model)


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What trainings keep of the tiny model, for all tests: its anchors, its replies.

    Whether it is asked where nothing is kept, and what of it is forgotten, is tested elsewhere.
    """
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file that `sage-sleep migrate` built; tests work on copies of it."""
    from app.cli.daemon import migrate

    directory = tmp_path_factory.mktemp("migrated")
    with pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith("SAGE_")]:
            environment.delenv(name)
        environment.setenv("SAGE_DATA_DIR", str(directory))
        migrate()
    return directory / "sage-sleep.db"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server, which lends migrated databases."""
    from tests.postgres.server import running_server

    with running_server() as server:
        yield server


@pytest.fixture
def data_dir(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A data directory with a migrated, empty database: the shared daemon's where one is used.

    With SAGE_TEST_DATABASE=postgresql the database is one of a server, by SAGE_DATABASE_URL.
    """
    if "shared_daemon" in request.fixturenames:
        daemon: RunningDaemon = request.getfixturevalue("shared_daemon")
        if IS_POSTGRES and daemon.database_url is not None:
            monkeypatch.setenv("SAGE_DATABASE_URL", daemon.database_url)
        yield daemon.data_dir
        return
    directory = tmp_path / "data"
    directory.mkdir()
    if not IS_POSTGRES:
        shutil.copy(request.getfixturevalue("migrated_file"), directory / "sage-sleep.db")
        yield directory
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    url = server.lend()
    monkeypatch.setenv("SAGE_DATABASE_URL", url)
    yield directory
    server.take_back(url)


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

    def start(**settings: Any) -> RunningDaemon:
        log_path = tmp_path / f"daemon-{len(started)}.log"
        daemon = launch(settings.pop("data_dir", data_dir), log_path, **settings)
        started.append(daemon)
        return daemon

    yield start
    for daemon in started:
        end(daemon)


@pytest.fixture(scope="session")
def shared_daemons(
    request: pytest.FixtureRequest, migrated_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SharedDaemons]:
    """The daemons that tests share."""
    server = request.getfixturevalue("postgres_server") if IS_POSTGRES else None
    daemons = SharedDaemons(migrated_file, tmp_path_factory.mktemp("shared-daemons"), server)
    yield daemons
    daemons.close()


@pytest.fixture
def shared_daemon(
    request: pytest.FixtureRequest, shared_daemons: SharedDaemons
) -> Iterator[RunningDaemon]:
    """An empty daemon that runs already; `@pytest.mark.daemon(name=value)` gives it settings."""
    marker = request.node.get_closest_marker("daemon")
    daemon = shared_daemons.lend(**(marker.kwargs if marker else {}))
    yield daemon
    daemon.http.close()


@pytest.fixture
def daemon(shared_daemon: RunningDaemon) -> RunningDaemon:
    """The same; a directory's or a file's own fixture of this name puts something into it."""
    return shared_daemon
