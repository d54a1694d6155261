"""kill -9 in the middle of a cycle: the child goes with the daemon, and the next start goes on."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import psutil

from tests.patience import wait_until
from tests.support import RunningDaemon, StartDaemon, make_exchange

SETTINGS: dict[str, Any] = {
    "scheduler_interval_seconds": 3600,
    "probe_prompts": "[]",
    "epochs": 12,
    "batch_size": 1,
    "r": 4,
    "max_length": 160,
    "anchor_weight": 0,
}
"""Long enough to be seen in its training: some 250 quick steps."""


def start_cycle(daemon: RunningDaemon) -> str:
    """Begin a cycle and wait until it trains."""
    daemon.http.post("/v1/experiences/batch", json=[make_exchange(n) for n in range(24)])
    cycle_id: str = daemon.http.post("/v1/sleep-cycles", json={"force": True}).json()["id"]
    daemon.wait_for_step(cycle_id)
    return cycle_id


def is_dead(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_killed_daemon_takes_the_child_along_and_the_next_start_finishes(
    start_daemon: StartDaemon, tiny_model: Path
) -> None:
    daemon = start_daemon(base_model=tiny_model, **SETTINGS)
    cycle_id = start_cycle(daemon)
    (child,) = psutil.Process(daemon.process.pid).children()
    daemon.process.kill()
    daemon.process.wait()
    wait_until(lambda: is_dead(child.pid), "the child ended with the daemon")
    again = start_daemon(base_model=tiny_model, **SETTINGS)
    assert "daemon.recovered" in again.log
    cycle = again.wait_for_cycle(cycle_id)
    assert cycle["status"] in {"succeeded", "rejected"}
    counts = again.http.get("/stats").json()["instances"][0]["counts"]
    assert counts["claimed"] == 0
    assert sum(counts.values()) == 24
    published = list((again.data_dir / "checkpoints").glob("default/*"))
    assert len(published) == 1


def test_killed_child_is_started_again_by_the_daemon(
    start_daemon: StartDaemon, tiny_model: Path
) -> None:
    daemon = start_daemon(base_model=tiny_model, **SETTINGS)
    cycle_id = start_cycle(daemon)
    (child,) = psutil.Process(daemon.process.pid).children()
    child.kill()
    wait_until(lambda: daemon.get_cycle(cycle_id)["attempts"] == 2, "the cycle was started again")
    assert daemon.stop() in {0, -signal.SIGTERM}
    assert "daemon.stopped" in daemon.log
    requeued = start_daemon(base_model=tiny_model, **SETTINGS)
    assert requeued.http.post(f"/v1/sleep-cycles/{cycle_id}/cancel").status_code == 202
    assert requeued.wait_for_cycle(cycle_id)["status"] == "cancelled"
    counts = requeued.http.get("/stats").json()["instances"][0]["counts"]
    assert counts["claimed"] == counts["consolidated"] == 0
