"""A wall clock that jumps by hours holds no job up."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.clock import utc_now
from app.db.engine import Database
from app.services.file_guard import FileGuard
from app.worker.clock_watch import MAX_DRIFT_SECONDS, ClockWatch
from app.worker.model_watch import ModelWatch
from app.worker.scheduler import Every, SleepScheduler
from app.worker.upkeep import DataPaths, Upkeep


@given(st.lists(st.floats(-1e6, 1e6), max_size=10))
def test_each_jump_is_told_once_and_by_its_size(jumps: list[float]) -> None:
    wall, steady = [1e9], [0.0]
    told: list[float] = []
    watch = ClockWatch(
        interval_seconds=1,
        on_jump=told.append,
        wall=lambda: wall[0],
        steady=lambda: steady[0],
    )
    for jump in jumps:
        wall[0] += 30.0 + jump
        steady[0] += 30.0
        watch.look()
        watch.look()
    wanted = [jump for jump in jumps if abs(jump) > MAX_DRIFT_SECONDS]
    assert told == pytest.approx(wanted, abs=1e-3)


def test_a_clock_set_from_1970_makes_no_list_of_what_was_missed() -> None:
    every = Every(seconds=30, timezone="UTC")
    planned_at: datetime | None = datetime(1970, 1, 1, tzinfo=UTC)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    due = 0
    while planned_at is not None and planned_at <= now:
        due += 1
        planned_at = every.get_next_fire_time(planned_at, now)
    assert due <= 2
    assert planned_at == now + timedelta(seconds=30)


def test_an_interval_that_missed_nothing_keeps_its_pace() -> None:
    every = Every(seconds=30, timezone="UTC")
    planned_at = datetime(2026, 1, 1, tzinfo=UTC)
    late = planned_at + timedelta(seconds=2)
    assert every.get_next_fire_time(planned_at, late) == planned_at + timedelta(seconds=30)


def test_no_job_of_the_daemon_counts_up_what_it_missed(db: Database, data_dir: Path) -> None:
    paths = DataPaths(checkpoints=data_dir, kept=data_dir, snapshots=data_dir, scratch=data_dir)
    scheduler = SleepScheduler(
        db,
        interval_seconds=3600,
        on_queued=lambda: None,
        upkeep=Upkeep(db, guard=FileGuard(db, root=data_dir), paths=paths),
        upkeep_interval_seconds=3600,
        models=ModelWatch(db, url=None),
    )
    jobs = scheduler._scheduler.get_jobs()
    assert {job.id for job in jobs} == {"evaluate", "models", "upkeep"}
    assert all(isinstance(job.trigger, Every) for job in jobs)


def test_jobs_planned_by_the_old_clock_run_now(db: Database, data_dir: Path) -> None:
    guard = FileGuard(db, root=data_dir)
    paths = DataPaths(checkpoints=data_dir, kept=data_dir, snapshots=data_dir, scratch=data_dir)
    scheduler = SleepScheduler(
        db,
        interval_seconds=3600,
        on_queued=lambda: None,
        upkeep=Upkeep(db, guard=guard, paths=paths),
        upkeep_interval_seconds=3600,
    )
    ran = threading.Event()
    job = scheduler._scheduler.get_job("evaluate")
    job.modify(func=ran.set)
    scheduler.start()
    try:
        # As the job stands after the clock went back by five hours.
        job.modify(next_run_time=utc_now() + timedelta(hours=6))
        assert not ran.wait(0.5)
        scheduler._on_jump(-5 * 3600)
        assert ran.wait(5)
    finally:
        scheduler.stop()
