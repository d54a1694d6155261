"""A disk that is full while a cycle runs ends it by that name, wherever the write was."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.db.engine import Database
from app.domain.decision import Trigger
from app.domain.worker_end import DISK_FULL_EXIT, WorkerEnd
from app.services import cycle_end, cycles, sleep
from app.services.sweeping import sweep_leftovers, sweep_worker
from app.settings import Settings
from tests.patience import seconds_left
from tests.publishing import NOW, fill
from tests.small_disk import small_disk
from tests.torture import faults
from tests.torture.child import ALL_WELL_VARIABLE


@pytest.fixture
def disk(tmp_path: Path, migrated_file: Path) -> Iterator[Path]:
    """A data directory with a migrated database, on a disk of 8 MB."""
    with small_disk(tmp_path / "small", megabytes=8) as path:
        shutil.copy(migrated_file, path / "sage-sleep.db")
        yield path


def queue_cycle(db: Database) -> str:
    fill(db, range(12))
    request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
    return sleep.request_cycle(db, request, now=NOW).id


def run_child(
    way: str, cycle_id: str, data_dir: Path, *, module: str = "tests.worker.children"
) -> int:
    """Be the daemon for one child; returns its exit code."""
    with subprocess.Popen(
        [sys.executable, "-m", module, *([way] if way else []), cycle_id],
        env={**os.environ, "SAGE_DATA_DIR": str(data_dir)},
        stdin=subprocess.PIPE,
    ) as child:
        return child.wait(timeout=seconds_left())


def error_of(db: Database, cycle_id: str) -> tuple[str, str | None]:
    cycle = cycles.get_cycle(db, cycle_id)[0]
    return cycle.status, cycle.error.code if cycle.error else None


def test_adapter_that_does_not_fit_fails_the_cycle_as_disk_full(
    db: Database, data_dir: Path
) -> None:
    cycle_id = queue_cycle(db)
    assert run_child("overfill", cycle_id, data_dir) == 0
    assert error_of(db, cycle_id) == ("failed", "disk-full")
    assert cycles.get_cycle(db, cycle_id)[0].attempts == 1
    assert list((data_dir / "checkpoints" / ".staging").iterdir()) == []


def test_disk_without_room_for_a_staging_directory_fails_the_cycle_as_disk_full(
    db: Database, data_dir: Path
) -> None:
    cycle_id = queue_cycle(db)
    with small_disk(data_dir / "checkpoints", megabytes=1, inodes=1):
        assert run_child("hang", cycle_id, data_dir) == 0
    assert error_of(db, cycle_id) == ("failed", "disk-full")
    request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
    sleep.request_cycle(db, request, now=NOW)  # all was given back


def test_disk_without_room_to_say_so_is_told_by_the_exit_code(disk: Path) -> None:
    db = Database(f"sqlite:///{disk / 'sage-sleep.db'}", Settings().instance_defaults())
    cycle_id = queue_cycle(db)
    for attempt in (1, 2, 3):
        code = run_child("fill_disk", cycle_id, disk)
        assert code == DISK_FULL_EXIT
        (disk / "filler").unlink()
        starts = cycle_end.settle_dead_worker(db, cycle_id, end=WorkerEnd(exit_code=code), now=NOW)
        assert starts == (attempt if attempt < 3 else 0)
    assert error_of(db, cycle_id) == ("failed", "disk-full")
    types = [event.type for event in cycles.list_events(db, cycle_id, after_seq=0, limit=500)[0]]
    assert types.count("sleep_cycle.disk_full") == 3
    db.close()


def publish_and(fault: str, cycle_id: str, data_dir: Path, orders: Path, text: str = "") -> int:
    """Run a child that publishes a checkpoint, and lets a fault happen then; its exit code."""
    orders.mkdir(exist_ok=True)
    faults.order(orders, fault, text)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(faults.DIRECTORY_VARIABLE, str(orders))
        environment.setenv(ALL_WELL_VARIABLE, "1")
        code = run_child("", cycle_id, data_dir, module="tests.torture.child")
    assert not (orders / fault).exists()
    return code


def left_behind(root: Path) -> list[str]:
    return [str(path) for path in root.rglob("*") if path.name not in {"default", ".staging"}]


def test_database_that_is_full_after_the_publication_leaves_nothing_of_it(
    disk: Path, tmp_path: Path
) -> None:
    db = Database(f"sqlite:///{disk / 'sage-sleep.db'}", Settings().instance_defaults())
    cycle_id = queue_cycle(db)
    full = faults.FULL_AT_PUBLICATION
    code = publish_and(full, cycle_id, disk, tmp_path / "orders", str(disk))
    assert left_behind(disk / "checkpoints") == []
    (disk / "filler").unlink()
    if code == DISK_FULL_EXIT:  # else what was taken back gave room enough to say so
        cycle_end.settle_dead_worker(db, cycle_id, end=WorkerEnd(exit_code=code), now=NOW)
        assert cycles.get_cycle(db, cycle_id)[0].status == "queued"
    else:
        assert error_of(db, cycle_id) == ("failed", "database-full")
    db.close()


@pytest.mark.parametrize("by_daemon_start", [True, False])
def test_what_a_child_published_before_it_was_killed_goes(
    db: Database, data_dir: Path, tmp_path: Path, by_daemon_start: bool
) -> None:
    cycle_id = queue_cycle(db)
    root = data_dir / "checkpoints"
    fault = faults.KILL_AFTER_PUBLICATION
    assert publish_and(fault, cycle_id, data_dir, tmp_path / "orders") == -signal.SIGKILL
    (published,) = (root / "default").iterdir()
    (root / "default" / "9-of-another").mkdir()
    if by_daemon_start:
        sweep_leftovers(db, root=root, snapshots=tmp_path / "none", scratch=tmp_path / "none")
        assert (root / ".orphans" / "default-9-of-another").is_dir()
    else:
        assert sweep_worker(db, root=root) == [f"default/{published.name}"]
        assert (root / "default" / "9-of-another").is_dir()
    assert not published.exists()
    cycle_end.settle_dead_worker(db, cycle_id, end=WorkerEnd(exit_code=-signal.SIGKILL), now=NOW)
    assert run_child("", cycle_id, data_dir, module="tests.torture.child") == 0
    assert cycles.get_cycle(db, cycle_id)[0].status in {"succeeded", "rejected", "failed"}
