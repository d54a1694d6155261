"""A whole night's sleep on the embedded model, from the first POST to the promoted checkpoint.

Real daemon, real socket, real child; the cycle starts by itself. The time of each stage is the
cycle's own, as GET /v1/sleep-cycles/{id} tells it; what lies between its instants is shown too.
"""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support import RunningDaemon, StartDaemon

pytestmark = pytest.mark.timeout(600)

SESSION = Path(__file__).parents[2] / "app" / "demo_session.json"
EXCHANGES = 24
TARGET_SECONDS = 60.0
LOADING_TARGET_SECONDS = 2.0


def session() -> list[dict[str, str]]:
    pairs = json.loads(SESSION.read_text())[:EXCHANGES]
    return [{"prompt": prompt, "response": response} for prompt, response in pairs]


def wait_for_first_cycle(daemon: RunningDaemon) -> dict[str, Any]:
    for _ in range(600):
        cycles = daemon.http.get("/v1/sleep-cycles").json()["data"]
        if cycles:
            return daemon.wait_for_cycle(cycles[0]["id"])
        time.sleep(0.05)
    pytest.fail(f"the trigger did not fire:\n{daemon.log}")


def breakdown(posted_at: float, cycle: dict[str, Any], ended_at: float) -> dict[str, float]:
    """Seconds of each part in order; together the whole."""
    queued, started, finished = (
        datetime.fromisoformat(cycle[name]).timestamp()
        for name in ("created_at", "started_at", "finished_at")
    )
    stages: dict[str, float] = cycle["metrics"]["seconds"]
    return {
        "post, trigger": queued - posted_at,
        "child starts": started - queued,
        **stages,
        "publication, rest": finished - started - sum(stages.values()),
        "seen over HTTP": ended_at - finished,
    }


def test_night_from_post_to_promoted(start_daemon: StartDaemon, embedded_model: Path) -> None:
    daemon = start_daemon(base_model=embedded_model, idle_seconds=0, mass_threshold=5)
    posted_at = time.time()
    answer = daemon.http.post("/v1/experiences/batch", json=session()).raise_for_status().json()
    cycle = wait_for_first_cycle(daemon)
    ended_at = time.time()
    assert answer["inserted"] == EXCHANGES
    assert (cycle["status"], cycle["trigger"]) == ("succeeded", "schedule"), daemon.log
    aliases = daemon.http.get("/v1/instances/default/aliases").json()
    assert aliases["current"] == cycle["checkpoint_id"]
    metrics, plan = cycle["metrics"], cycle["plan"]
    print(
        f"\n  {EXCHANGES} exchanges, {len(plan['experience_ids'])} trained, "
        f"{len(plan['held_out_ids'])} held out, {metrics['trained_tokens']} tokens in "
        f"{metrics['steps']} steps at {metrics['tokens_per_second']:.0f} tokens/s, "
        f"peak {metrics['peak_memory_bytes'] / 1e6:.0f} MB"
    )
    for name, seconds in breakdown(posted_at, cycle, ended_at).items():
        print(f"  {name:20} {seconds:6.2f} s")
    print(
        f"  {'POST to promoted':20} {ended_at - posted_at:6.2f} s (target {TARGET_SECONDS:.0f})\n"
        f"  {'loading the model':20} {metrics['seconds']['loading']:6.2f} s "
        f"(target {LOADING_TARGET_SECONDS:.0f})"
    )
