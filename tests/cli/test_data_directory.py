"""Commands on the data directory itself: migrate, backup, restore, doctor, prune."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config

import migrations
from app.client import SleepClient
from app.db import sleep_cycles
from app.db.copies import list_copies
from app.db.engine import Database
from app.db.events import append_event
from app.domain.events import EventType
from app.errors import DatabaseInUse, DatabaseUnavailable, PairMismatched
from app.main import check_startable
from app.services import registry
from app.settings import Settings
from tests.publishing import NOW, aliases, publish
from tests.services.test_retention import add_progress, publish_cycle
from tests.support import StartDaemon, make_exchange, run_command


def test_backup_that_leaves_a_damaged_checkpoint_out_names_it_and_ends_with_1(
    db: Database, data_dir: Path, tmp_path: Path
) -> None:
    root = data_dir / "checkpoints"
    checkpoint_id, _ = publish(db, root, range(20))
    name = registry.get_checkpoint(db, checkpoint_id).row.name
    (root / name / "adapter_config.json").write_text("[]")
    said = run_command(
        "backup",
        str(tmp_path / "backup"),
        environment={"SAGE_DATA_DIR": str(data_dir)},
        check=False,
    )
    assert said.returncode == 1
    assert name in said.stderr.replace("\n", "")


def test_restore_refuses_beside_a_running_daemon(
    start_daemon: StartDaemon, data_dir: Path, tmp_path: Path
) -> None:
    daemon = start_daemon(base_model=tmp_path / "none")
    environment = {"SAGE_DATA_DIR": str(data_dir)}
    run_command("backup", str(tmp_path / "backup"), environment=environment)
    said = run_command(
        "restore", str(tmp_path / "backup"), "--replace", environment=environment, check=False
    )
    assert said.returncode == 1
    assert "A daemon, or" in said.stderr.replace("\n", " ")
    assert daemon.http.get("/healthz").status_code == 200
    daemon.stop()
    run_command("restore", str(tmp_path / "backup"), "--replace", environment=environment)


def test_what_must_be_alone_refuses_beside_a_daemon_and_the_rest_runs(
    start_daemon: StartDaemon, data_dir: Path, tmp_path: Path
) -> None:
    daemon = start_daemon(base_model=tmp_path / "none", scheduler_interval_seconds=3600)
    environment = {"SAGE_DATA_DIR": str(data_dir)}
    before = (data_dir / "sage-sleep.db").stat().st_ino
    for arguments in (("migrate", "--json"), ("doctor", "--fix"), ("serve",)):
        said = run_command(*arguments, environment=environment, check=False)
        assert (said.returncode, said.stdout) == (1, ""), arguments
        assert "A daemon, or a command that must be alone" in " ".join(said.stderr.split())
    run_command("prune", environment=environment)
    run_command("doctor", environment=environment)
    assert (data_dir / "sage-sleep.db").stat().st_ino == before
    assert daemon.http.post("/v1/experiences", json=make_exchange(1)).status_code == 201
    daemon.process.kill()  # what a killed daemon leaves is no lock
    daemon.process.wait()
    run_command("migrate", environment=environment)


def test_database_has_one_daemon_whatever_the_directory_and_the_name(
    start_daemon: StartDaemon, data_dir: Path, tmp_path: Path
) -> None:
    daemon = start_daemon(base_model=tmp_path / "none", scheduler_interval_seconds=3600)
    file = data_dir / "sage-sleep.db"
    other = tmp_path / "other"
    (tmp_path / "linked.db").symlink_to(file)
    (tmp_path / "linked").symlink_to(data_dir)
    spellings = (
        f"sqlite:///{file}",
        f"sqlite:///{tmp_path / 'linked.db'}",
        f"sqlite:///{tmp_path / 'linked' / 'sage-sleep.db'}",
        f"sqlite+pysqlite:///{os.path.relpath(file)}?timeout=3",
    )
    for url in spellings:
        with pytest.raises(DatabaseInUse, match=f"runs on the database {file}"):
            check_startable(Settings(data_dir=other, database_url=url))
    environment = {"SAGE_DATA_DIR": str(other), "SAGE_DATABASE_URL": spellings[-1]}
    for arguments in (("migrate",), ("pair", "--yes"), ("doctor", "--fix")):
        said = run_command(*arguments, environment=environment, check=False)
        assert said.returncode == 1, arguments
        assert "runs on the database" in " ".join(said.stderr.split()), arguments
    assert list(other.iterdir()) == [other / "daemon.lock"]
    assert daemon.http.post("/v1/experiences", json=make_exchange(1)).status_code == 201
    daemon.stop()
    with pytest.raises(PairMismatched, match="belongs to another data directory"):
        check_startable(Settings(data_dir=other, database_url=spellings[1]))
    (tmp_path / "hard.db").hardlink_to(file)
    with pytest.raises(DatabaseUnavailable, match="2 names"):
        check_startable(Settings(data_dir=other, database_url=f"sqlite:///{tmp_path / 'hard.db'}"))


def test_pair_that_is_none_is_refused_by_all_and_paired_on_demand(
    db: Database, data_dir: Path, tmp_path: Path, migrated_file: Path
) -> None:
    root = data_dir / "checkpoints"
    checkpoint_id, _ = publish(db, root, range(20))
    name = registry.get_checkpoint(db, checkpoint_id).row.name
    shutil.copy(migrated_file, tmp_path / "fresh.db")
    url = f"sqlite:///{tmp_path / 'fresh.db'}"
    environment = {"SAGE_DATA_DIR": str(data_dir), "SAGE_DATABASE_URL": url}
    with pytest.raises(PairMismatched, match="has never known"):
        check_startable(Settings(data_dir=data_dir, database_url=url))
    for arguments in (("backup", str(tmp_path / "backup")), ("pair",)):
        said = run_command(*arguments, environment=environment, check=False)
        assert said.returncode == 1, arguments
        assert "Traceback" not in said.stderr
    assert "1 directories have no row" in " ".join(said.stdout.split())
    assert (root / name).is_dir()
    assert aliases(db) == {"current": checkpoint_id}
    said = run_command("pair", "--yes", "--json", environment=environment)
    assert json.loads(said.stdout) == {
        "is_paired": True,
        "present": [],
        "absent": [],
        "unknown": [name],
    }
    check_startable(Settings(data_dir=data_dir, database_url=url))


def test_copy_of_both_gets_an_id_of_its_own_on_demand(
    db: Database, data_dir: Path, tmp_path: Path
) -> None:
    publish(db, data_dir / "checkpoints", range(20))
    check_startable(Settings(data_dir=data_dir))
    copy = tmp_path / "copy"
    shutil.copytree(data_dir, copy)
    crossed = Settings(data_dir=copy, database_url=f"sqlite:///{data_dir / 'sage-sleep.db'}")
    check_startable(crossed)  # nothing tells the copies apart yet
    run_command("pair", "--anew", environment={"SAGE_DATA_DIR": str(copy)})
    with pytest.raises(PairMismatched, match="belongs to another database"):
        check_startable(crossed)
    for one in (data_dir, copy):
        check_startable(Settings(data_dir=one))


def test_checkpoints_come_back_to_the_database_that_names_them(
    start_daemon: StartDaemon, db: Database, data_dir: Path, tmp_path: Path, migrated_file: Path
) -> None:
    root = data_dir / "checkpoints"
    checkpoint_id, _ = publish(db, root, range(20))
    name = registry.get_checkpoint(db, checkpoint_id).row.name
    shutil.copy(migrated_file, tmp_path / "fresh.db")
    own = {"SAGE_DATA_DIR": str(data_dir)}
    fresh = f"sqlite:///{tmp_path / 'fresh.db'}"
    run_command("pair", "--yes", environment={**own, "SAGE_DATABASE_URL": fresh})
    settings = {"base_model": tmp_path / "none", "scheduler_interval_seconds": 3600}
    start_daemon(database_url=fresh, **settings).stop()
    assert not (root / name).exists()
    run_command("pair", "--yes", environment=own)
    daemon = start_daemon(**settings)
    assert (root / name).is_dir()
    found = daemon.http.get(f"/v1/checkpoints/{checkpoint_id}").json()
    assert found["status"] == "ready"
    assert aliases(db) == {"current": checkpoint_id}


def test_damaged_file_is_found_and_a_backup_recommended(data_dir: Path) -> None:
    path = data_dir / "sage-sleep.db"
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 12] = b"\xff" * 4096 * 9
    path.write_bytes(content)
    said = run_command(
        "doctor", "--json", environment={"SAGE_DATA_DIR": str(data_dir)}, check=False
    )
    assert said.returncode == 1
    found = [item for item in json.loads(said.stdout) if item["check"] == "database"]
    assert found
    assert all("restore" in item["remedy"] for item in found)


def test_command_says_what_it_found_and_what_it_did(data_dir: Path) -> None:
    environment = {"SAGE_DATA_DIR": str(data_dir), "SAGE_BASE_MODEL": "owner/hub-id"}
    data_dir.chmod(0o755)
    assert "others on this machine" in " ".join(
        run_command("doctor", environment=environment).stdout.replace("│", " ").split()
    )
    run_command("doctor", "--fix", environment=environment)
    assert data_dir.stat().st_mode & 0o007 == 0
    connection = sqlite3.connect(data_dir / "sage-sleep.db")
    connection.execute("UPDATE alembic_version SET version_num = '0001'")
    connection.commit()
    connection.close()
    said = run_command("doctor", environment=environment, check=False)
    assert said.returncode == 1
    assert "sage-sleep migrate" in " ".join(said.stdout.replace("│", " ").split())


def test_prune_says_what_would_go_and_then_lets_it_go(db: Database, data_dir: Path) -> None:
    for n in range(0, 120, 20):
        publish(db, data_dir / "checkpoints", range(n, n + 20))
    environment = {"SAGE_DATA_DIR": str(data_dir), "SAGE_RETAIN_CHECKPOINTS": "1"}
    (said,) = json.loads(
        run_command("prune", "--dry-run", "--json", environment=environment).stdout
    )
    assert len(said["checkpoints"]) == 2
    assert len(list((data_dir / "checkpoints" / "default").iterdir())) == 6
    assert "default" in run_command("prune", environment=environment).stdout
    assert len(list((data_dir / "checkpoints" / "default").iterdir())) == 4
    assert "nothing to prune" in run_command("prune", environment=environment).stdout


def test_reader_that_resumes_behind_a_removed_event_gets_what_is_left(
    start_daemon: StartDaemon, db: Database, data_dir: Path
) -> None:
    ended = publish_cycle(db, data_dir / "checkpoints")
    middle = add_progress(db, ended, 100)[50]
    with db.write() as session:
        cycle = sleep_cycles.get_cycle(session, ended)
        append_event(
            session, type_=EventType.CYCLE_CANCELLED, instance_id=cycle.instance_id, cycle_id=ended,
            now=NOW,
        )  # fmt: skip
    daemon = start_daemon(base_model="owner/hub-id", scheduler_interval_seconds=3600)
    path = f"/v1/sleep-cycles/{ended}/events"
    environment = {"SAGE_DATA_DIR": str(data_dir)}
    said = run_command("prune", environment=environment, check=False)
    assert said.returncode == 1
    assert "the clock stands" in said.stderr
    run_command("prune", "--clock-is-right", environment=environment)
    for headers in ({}, {"Accept": "text/event-stream"}):
        answer = daemon.http.get(path, headers={**headers, "Last-Event-ID": str(middle)})
        assert answer.text.count('"sleep_cycle.cancelled"') == 1
        assert "sleep_cycle.progress" not in answer.text
        assert "sleep_cycle.started" not in answer.text
    with SleepClient(str(daemon.http.base_url)) as client:
        followed = [event.type for event in client.follow_sleep_cycle_events(ended, after=middle)]
        whole = [event.type for event in client.follow_sleep_cycle_events(ended)]
    assert followed == ["sleep_cycle.cancelled"]
    assert whole[0] == "sleep_cycle.queued"
    assert daemon.http.get(f"/v1/sleep-cycles/{ended}/report").status_code == 200


def test_migration_keeps_the_database_as_it_was(data_dir: Path) -> None:
    environment = {"SAGE_DATA_DIR": str(data_dir)}
    database = data_dir / "sage-sleep.db"
    run_command("migrate", environment=environment)
    assert list_copies(database) == []
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["url"] = f"sqlite:///{database}"
    command.downgrade(config, "-1")
    before = Database(f"sqlite:///{database}", Settings().instance_defaults()).find_revision()
    said = run_command("migrate", environment=environment)
    (copy,) = list_copies(database)
    assert copy.name in said.stderr.replace("\n", "")
    assert copy.name.startswith(f"sage-sleep.db.before-{before}-")
    assert copy.stat().st_mode & 0o077 == 0
    connection = sqlite3.connect(copy)
    assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (before,)
    connection.close()


def test_migrating_twice_changes_nothing(data_dir: Path) -> None:
    before = (data_dir / "sage-sleep.db").read_bytes()
    run_command("migrate", environment={"SAGE_DATA_DIR": str(data_dir)})
    assert (data_dir / "sage-sleep.db").read_bytes() == before


def test_what_commands_make_is_its_owners_alone(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    environment = {"SAGE_DATA_DIR": str(data_dir)}
    before = os.umask(0o002)
    try:
        run_command("migrate", environment=environment)
        run_command("tokens", "create", "a", "-s", "read", environment=environment)
        run_command("backup", str(tmp_path / "backups" / "first"), environment=environment)
    finally:
        os.umask(before)
    for path in (data_dir, tmp_path / "backups", *data_dir.rglob("*"), *tmp_path.rglob("first/*")):
        wanted = 0o700 if path.is_dir() else 0o600
        assert path.stat().st_mode & 0o777 == wanted, path
