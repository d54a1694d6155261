"""Full disk, locked or corrupt database, read-only directory: each has a name and a way on."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from app import data_lock
from app.client import SleepClient, Spool, SpoolSender
from app.db import instances
from app.db.engine import Database
from app.errors import DatabaseReadOnly, DatabaseUnavailable, DirectoryReadOnly
from app.settings import Settings
from tests.patience import wait_until
from tests.publishing import NOW
from tests.small_disk import fill_up, make_read_only, small_disk
from tests.support import StartDaemon, free_port, locked, make_exchange, run_command

QUICK = {"base_model": "owner/hub-id", "scheduler_interval_seconds": 0.5}


@pytest.fixture
def disk(tmp_path: Path, migrated_file: Path) -> Iterator[Path]:
    """A data directory with a migrated database, on a disk of 8 MB."""
    with small_disk(tmp_path / "small", megabytes=8) as path:
        shutil.copy(migrated_file, path / "sage-sleep.db")
        yield path


def problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].rpartition(":")[2]


def damage(path: Path) -> None:
    """Overwrite a quarter of the database, under whoever uses it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2 // 4096 * 4096)
        file.write(b"\xff" * (size // 4))


def wait_until_ready(http: httpx.Client) -> None:
    def is_ready() -> bool:
        found: bool = http.get("/readyz").json()["checks"]["database"] == "ok"
        return found

    wait_until(is_ready, lambda: str(http.get("/readyz").json()))


@pytest.mark.sqlite_file("the disk it lies on")
def test_full_disk_refuses_exchanges_by_name_and_takes_them_when_there_is_room(
    start_daemon: StartDaemon, disk: Path
) -> None:
    http = start_daemon(data_dir=disk, **QUICK).http
    assert http.post("/v1/experiences", json=make_exchange(0)).status_code == 201
    filler = fill_up(disk)
    refused = [http.post("/v1/experiences", json=make_exchange(n)) for n in range(1, 40)]
    assert problem(refused[-1]) == (503, "database-full")
    assert refused[-1].headers["retry-after"]
    ready = http.get("/readyz")
    assert ready.status_code == 503
    assert "no room left" in ready.json()["checks"]["database"]
    assert "MB are free" in ready.json()["checks"]["disk"]
    assert http.get("/healthz").status_code == 200
    stored = sum(answer.status_code == 201 for answer in refused) + 1
    counts = http.get("/stats").json()["instances"][0]["counts"]
    assert sum(counts.values()) == stored
    filler.unlink()
    wait_until_ready(http)
    assert http.post("/v1/experiences", json=make_exchange(50)).status_code == 201
    with closing(sqlite3.connect(disk / "sage-sleep.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        counted = connection.execute("SELECT count(*) FROM experiences").fetchone()
    assert counted == (stored + 1,)


def test_database_locked_by_another_process_is_said_and_passes(
    start_daemon: StartDaemon, db: Database
) -> None:
    http = start_daemon(**QUICK).http
    with locked(db):
        assert problem(http.post("/v1/experiences", json=make_exchange(0))) == (
            503,
            "database-locked",
        )
        ready = http.get("/readyz")
        assert ready.status_code == 503
        assert "holds the database" in ready.json()["checks"]["database"]
        assert http.get("/healthz").status_code == http.get("/stats").status_code == 200
    wait_until_ready(http)
    assert http.post("/v1/experiences", json=make_exchange(0)).status_code == 201


@pytest.mark.sqlite_file("damage to it")
def test_file_that_is_damaged_under_a_running_daemon_is_said_and_the_rest_answers(
    start_daemon: StartDaemon, data_dir: Path
) -> None:
    http = start_daemon(**QUICK).http
    for n in range(0, 400, 100):
        batch = [make_exchange(k, prompt=f"{k} " + "word " * 4000) for k in range(n, n + 100)]
        assert http.post("/v1/experiences/batch", json=batch).status_code == 200
    damage(data_dir / "sage-sleep.db")
    answers = [http.get("/v1/experiences?limit=500") for _ in range(3)]
    assert (503, "database-corrupt") in [
        problem(answer) for answer in answers if answer.status_code != 200
    ]
    ready = http.get("/readyz")
    assert ready.status_code == 503
    assert "damaged" in ready.json()["checks"]["database"]
    assert str(data_dir) not in ready.text
    assert http.get("/healthz").status_code == 200
    assert http.get("/v1/instances").status_code == 200
    for n in range(12):
        assert problem(http.post("/v1/experiences", json=make_exchange(900 + n))) == (
            503,
            "database-corrupt",
        )
    assert "until someone acts" in http.get("/stats").json()["refuses_writes"]


@pytest.mark.sqlite_file("damage to it")
def test_damage_that_nobody_reads_is_looked_for(start_daemon: StartDaemon, data_dir: Path) -> None:
    http = start_daemon(**QUICK | {"scheduler_interval_seconds": 0.1}).http
    batch = [make_exchange(n, prompt=f"{n} " + "word " * 4000) for n in range(100)]
    assert http.post("/v1/experiences/batch", json=batch).status_code == 200
    damage(data_dir / "sage-sleep.db")

    def is_refused() -> bool:
        found: bool = http.get("/stats").json()["refuses_writes"] is not None
        return found

    wait_until(is_refused, lambda: http.get("/readyz").text)
    assert problem(http.post("/v1/experiences", json=make_exchange(900)))[0] == 503


@pytest.mark.sqlite_file("damage to it")
def test_after_damage_nothing_is_acknowledged_until_a_person_acted(
    start_daemon: StartDaemon, data_dir: Path, tmp_path: Path
) -> None:
    settings = QUICK | {"port": free_port()}
    daemon = start_daemon(**settings)
    url = f"sqlite:///{data_dir / 'sage-sleep.db'}"
    with closing(Database(url, Settings().instance_defaults())) as db:
        db.note_damage()  # as another process, such as a training, notes what it met
    daemon.stop()
    daemon = start_daemon(**settings)  # a restart is nobody who acted
    environment = {"SAGE_DATA_DIR": str(data_dir), "SAGE_BASE_MODEL": "owner/hub-id"}
    with (
        Spool(tmp_path / "spool.db") as spool,
        SleepClient(str(daemon.http.base_url), retry_seconds=0) as client,
        SpoolSender(client, spool) as sender,
    ):
        sender.post(make_exchange(0))
        assert not sender.flush(0.5)
        assert problem(daemon.http.post("/v1/experiences", json=make_exchange(1)))[0] == 503
        assert "until someone acts" in daemon.http.get("/readyz").text
        assert daemon.http.get("/v1/experiences").json()["data"] == []
        daemon.stop()
        said = run_command("doctor", environment=environment, check=False)
        assert "nothing is stored since" in " ".join(said.stdout.replace("│", " ").split())
        run_command("doctor", "--fix", environment=environment, check=False)
        daemon = start_daemon(**settings)
        assert sender.flush()
        assert len(daemon.http.get("/v1/experiences").json()["data"]) == 1
        assert daemon.http.get("/stats").json()["refuses_writes"] is None


@pytest.mark.sqlite_file("what it is")
def test_daemon_does_not_start_on_a_file_that_is_no_database(data_dir: Path) -> None:
    (data_dir / "sage-sleep.db").write_bytes(b"no database at all" * 500)
    said = run_command("serve", environment={"SAGE_DATA_DIR": str(data_dir)}, check=False)
    assert said.returncode == 1
    assert "is no database" in said.stderr


@pytest.mark.sqlite_file("the directory it lies in")
def test_daemon_does_not_start_in_a_read_only_directory(disk: Path) -> None:
    make_read_only(disk)
    for command in ("serve", "migrate"):
        said = run_command(command, environment={"SAGE_DATA_DIR": str(disk)}, check=False)
        assert said.returncode == 1
        assert "Traceback" not in said.stderr
        assert "cannot be written to" in said.stderr or "cannot be opened" in said.stderr
    found = run_command("doctor", environment={"SAGE_DATA_DIR": str(disk)}, check=False)
    assert found.returncode == 1
    assert "cannot be written to" in " ".join(found.stdout.replace("│", " ").split())
    with pytest.raises(DirectoryReadOnly), data_lock.hold(disk / "deeper", None):
        pass


@pytest.mark.sqlite_file("the directory it lies in")
def test_database_that_may_not_be_written_has_its_own_name(disk: Path) -> None:
    make_read_only(disk)
    db = Database(f"sqlite:///{disk / 'sage-sleep.db'}", Settings().instance_defaults())
    with pytest.raises(DatabaseReadOnly), db.write() as session:
        instances.insert_instance(session, slug="new", now=NOW)
    assert isinstance(db.failure, DatabaseReadOnly)
    db.close()


LIMITED = """
import resource, sys
from app.client import SleepClient, Spool, SpoolSender
from app.db import instances
from app.db.engine import Database
from app.settings import Settings
from tests.patience import wait_until
from tests.publishing import NOW

db = Database(f"sqlite:///{sys.argv[1]}", Settings().instance_defaults())
db.check_migrated()
resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, 64 << 10))
stored = 0
try:
    while True:
        with db.write() as session:
            instances.insert_instance(session, slug=f"i{stored}" + "x" * 3000, now=NOW)
        stored += 1
except Exception as error:
    print(stored, type(error).__name__, type(db.failure).__name__)
"""


@pytest.mark.sqlite_file("its size")
def test_write_past_a_limit_on_file_size_is_named_and_loses_nothing(data_dir: Path) -> None:
    path = data_dir / "sage-sleep.db"
    ran = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=True
    )
    stored, name, noted = ran.stdout.split()
    assert int(stored) > 0
    assert name == noted == DatabaseUnavailable.__name__
    with closing(sqlite3.connect(path)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM instances").fetchone()
    assert count == int(stored) + 1
