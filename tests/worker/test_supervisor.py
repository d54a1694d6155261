"""What the supervisor does about a child that hangs, is killed or runs out of memory."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from app.db.engine import Database
from app.domain.decision import Trigger
from app.errors import BaseModelNotFound
from app.services import cycles, sleep
from app.services.sweeping import sweep_worker
from app.worker import supervisor
from app.worker.cycle import _explain
from app.worker.supervisor import POLL_SECONDS, Stopwatch, Supervisor
from tests.patience import wait_until
from tests.publishing import NOW, fill
from tests.support import StartDaemon, make_exchange

StartSupervisor = Callable[..., str]


@pytest.fixture
def run_badly(
    db: Database, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StartSupervisor]:
    """Queue a cycle and start a supervisor whose child goes wrong; returns the cycle's id."""
    monkeypatch.setattr(supervisor, "RESTART_DELAY_SECONDS", 0.0)
    started: list[Supervisor] = []

    def start(way: str, *, stall_seconds: float = 60.0) -> str:
        fill(db, range(12))
        request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
        cycle = sleep.request_cycle(db, request, now=NOW)
        running = Supervisor(
            db,
            child_command=(sys.executable, "-m", "tests.worker.children", way),
            child_environment={
                "SAGE_DATA_DIR": str(data_dir),
                "SAGE_DATABASE_URL": f"sqlite:///{data_dir / 'sage-sleep.db'}",
            },
            sweep=partial(sweep_worker, db, root=data_dir / "checkpoints"),
            stop_grace_seconds=1.0,
            stall_seconds=stall_seconds,
        )
        running.start()
        started.append(running)
        return cycle.id

    yield start
    for running in started:
        running.stop()


def events_of(db: Database, cycle_id: str) -> list[Any]:
    return list(cycles.list_events(db, cycle_id, after_seq=0, limit=500)[0])


def wait_for_event(db: Database, cycle_id: str, type_: str) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        return next((e.data for e in events_of(db, cycle_id) if e.type == type_), None)

    return wait_until(found, lambda: f"{type_} in {[e.type for e in events_of(db, cycle_id)]}")


def test_child_that_hangs_is_killed_and_counted_as_a_crash(
    db: Database, run_badly: StartSupervisor
) -> None:
    cycle_id = run_badly("hang", stall_seconds=4.0)
    data = wait_for_event(db, cycle_id, "sleep_cycle.worker_stalled")
    assert data["exit_code"] == -signal.SIGKILL
    assert "SAGE_STALL_SECONDS" in data["detail"]
    wait_for_event(db, cycle_id, "sleep_cycle.requeued")
    assert cycles.get_cycle(db, cycle_id)[0].attempts >= 1


def test_child_that_is_stopped_within_a_write_blocks_nobody(
    db: Database, run_badly: StartSupervisor
) -> None:
    cycle_id = run_badly("stop_within_a_write", stall_seconds=1800.0)

    def is_stopped() -> bool:
        children = psutil.Process().children()
        return any(child.status() == psutil.STATUS_STOPPED for child in children)

    wait_until(is_stopped, lambda: str(psutil.Process().children()))
    fill(db, range(100, 104))  # waits for the lock, and gets it in time
    data = wait_for_event(db, cycle_id, "sleep_cycle.worker_stalled")
    assert data["exit_code"] == -signal.SIGKILL
    assert "kept all others from writing" in data["detail"]


def test_child_killed_from_outside_leaves_a_hint_of_memory(
    db: Database, run_badly: StartSupervisor
) -> None:
    cycle_id = run_badly("be_killed")
    failed = wait_for_event(db, cycle_id, "sleep_cycle.failed")
    assert failed["code"] == "worker-killed"
    assert "memory" in failed["message"]


def test_child_without_memory_fails_the_cycle_by_name(
    db: Database, run_badly: StartSupervisor
) -> None:
    cycle_id = run_badly("swell")
    assert wait_for_event(db, cycle_id, "sleep_cycle.failed")["code"] == "out-of-memory"
    counts = cycles.get_cycle(db, cycle_id)[0].attempts
    assert counts == 1


def test_memory_that_torch_does_not_get_is_named_too() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 56)
    assert _explain(raised.value)[0] == "out-of-memory"
    with pytest.raises(BaseModelNotFound) as translated:
        _translate(OSError(12, "Cannot allocate memory"))
    assert _explain(translated.value)[0] == "out-of-memory"


def _translate(error: OSError) -> None:
    try:
        raise error
    except OSError as found:
        raise BaseModelNotFound("does not load") from found


def test_silence_counts_only_what_this_process_saw_pass() -> None:
    now = 100.0
    silence = Stopwatch(lambda: now)
    silence.look("beat 1")
    for _ in range(4):
        now += POLL_SECONDS
        silence.look("beat 1")
    assert silence.seconds == 4 * POLL_SECONDS
    now += 8 * 3600  # the lid was closed
    assert silence.look("beat 1") == 6 * POLL_SECONDS
    now += POLL_SECONDS
    assert silence.look("beat 2") == 0.0


def test_daemon_and_child_stopped_for_longer_than_the_stall_limit_go_on(
    start_daemon: StartDaemon,
) -> None:
    # More than the child needs to start beside another busy test, which counts as silence.
    daemon = start_daemon(
        module="tests.worker.plodding_daemon", stall_seconds=8, scheduler_interval_seconds=3600
    )
    daemon.http.post("/v1/experiences/batch", json=[make_exchange(n) for n in range(12)])
    cycle_id = daemon.http.post("/v1/sleep-cycles", json={"force": True}).json()["id"]
    daemon.wait_for_step(cycle_id)
    family = [psutil.Process(daemon.process.pid)]
    family += family[0].children()
    assert len(family) == 2
    for process in family:
        process.suspend()
    time.sleep(11)
    for process in reversed(family):
        process.resume()
    ended = daemon.wait_for_cycle(cycle_id)
    assert (ended["attempts"], ended["error"]["code"]) == (1, "unexpected-error")
    assert "stalled" not in daemon.log
