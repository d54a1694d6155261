"""A cycle that is stopped or killed in its training goes on from its snapshot to the same bytes.

One that is cancelled leaves nothing.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.patience import pace
from tests.support import RunningDaemon, StartDaemon, make_exchange
from tests.worker.conftest import entered, make_again

DRAIN_SECONDS = 10.0

SETTINGS: dict[str, Any] = {
    "scheduler_interval_seconds": 3600,
    "idle_seconds": 2,
    "snapshot_interval_seconds": 0,
    "probe_prompts": "[]",
    "epochs": 12,
    "batch_size": 1,
    "learning_rate": 1e-5,
    "r": 4,
    "max_length": 160,
    "anchor_weight": 0,
}
"""Slow enough learning that the held-out loss falls to the last of some 250 quick steps."""


def begin_training(daemon: RunningDaemon) -> tuple[str, int]:
    """Ask for a cycle and wait until it trains; returns its id and the step it was seen at."""
    daemon.http.post("/v1/experiences/batch", json=[make_exchange(n) for n in range(24)])
    cycle_id: str = daemon.http.post("/v1/sleep-cycles", json={"force": True}).json()["id"]
    progress = daemon.wait_for_step(cycle_id)
    assert progress["step"] < progress["total_steps"]
    return cycle_id, progress["step"]


def stop_daemon(daemon: RunningDaemon) -> None:
    started = time.monotonic()
    assert daemon.stop() in {0, -signal.SIGTERM}
    assert time.monotonic() - started < DRAIN_SECONDS * pace()
    assert "daemon.stopped" in daemon.log


def kill_child(daemon: RunningDaemon) -> None:
    (child,) = psutil.Process(daemon.process.pid).children()
    child.kill()


def wake_instance(daemon: RunningDaemon) -> None:
    (child,) = psutil.Process(daemon.process.pid).children()
    answer = daemon.http.post("/v1/instances/default/wake").json()
    assert answer["was_running"]
    child.wait(DRAIN_SECONDS * pace())
    waiting = daemon.http.get(f"/v1/sleep-cycles/{answer['sleep_cycle_id']}").json()
    assert (waiting["status"], waiting["attempts"]) == ("queued", 0)
    assert (daemon.data_dir / "snapshots" / f"{waiting['id']}.safetensors").is_file()


def test_running_cycle_can_be_cancelled_and_gives_everything_back(
    start_daemon: StartDaemon, tiny_model: Path
) -> None:
    daemon = start_daemon(base_model=tiny_model, **{**SETTINGS, "epochs": 50})
    http = daemon.http
    http.post("/v1/experiences/batch", json=[make_exchange(n) for n in range(24)])
    before = http.get("/stats").json()["instances"][0]["counts"]
    cycle_id = http.post("/v1/sleep-cycles", json={"force": True}).json()["id"]
    daemon.wait_for_step(cycle_id)
    assert http.post(f"/v1/sleep-cycles/{cycle_id}/cancel").status_code == 202
    assert daemon.wait_for_cycle(cycle_id)["status"] == "cancelled"
    assert http.get("/stats").json()["instances"][0]["counts"] == before
    assert not list((daemon.data_dir / "checkpoints" / ".staging").iterdir())


def steps_after_requeue(daemon: RunningDaemon, cycle_id: str) -> list[int]:
    path = f"/v1/sleep-cycles/{cycle_id}/events?limit=500"
    events = daemon.http.get(path).json()["data"]
    start = next(i for i, e in enumerate(events) if e["type"] == "sleep_cycle.requeued")
    steps = [e["data"].get("step", 0) for e in events[start:] if e["type"].endswith(".progress")]
    return [step for step in steps if step]


@pytest.mark.parametrize("interrupt", [stop_daemon, kill_child, wake_instance])
def test_interrupted_cycle_goes_on_from_its_snapshot_to_the_same_bytes(
    start_daemon: StartDaemon, tiny_model: Path, interrupt: Callable[[RunningDaemon], None]
) -> None:
    daemon = start_daemon(base_model=tiny_model, **SETTINGS)
    cycle_id, step = begin_training(daemon)
    interrupt(daemon)
    if daemon.process.poll() is not None:
        assert (daemon.data_dir / "snapshots" / f"{cycle_id}.safetensors").is_file()
        daemon = start_daemon(base_model=tiny_model, **SETTINGS)
    ended = daemon.wait_for_cycle(cycle_id)
    assert ended["status"] in {"succeeded", "rejected"}, daemon.log
    assert ended["metrics"]["steps"] > step
    assert all(later >= step for later in steps_after_requeue(daemon, cycle_id))
    daemon.stop()
    with entered(daemon.data_dir) as place:
        outcome = make_again(place, ended["checkpoint_id"])
    assert outcome.is_reproduced, outcome.explanation()
