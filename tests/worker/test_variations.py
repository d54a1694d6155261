"""A cycle with variations on a real daemon: marked, resumed, made again, and quoted nowhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support import RunningDaemon, StartDaemon, make_exchange
from tests.worker.conftest import entered, make_again

SETTINGS: dict[str, Any] = {
    "scheduler_interval_seconds": 3600,
    "snapshot_interval_seconds": 0,
    "probe_prompts": "[]",
    "epochs": 6,
    "batch_size": 1,
    "learning_rate": 1e-5,
    "r": 4,
    "max_length": 320,
    "anchor_weight": 0,
}
"""Quick steps of slow learning, so that the held-out loss falls to the last of them."""

KINDS = ["paraphrased_prompt", "dropped_context", "shuffled_context"]
HISTORY = [
    {"role": role, "content": f"{word} {role}"}
    for word in ("basil", "fan", "bench")
    for role in ("user", "assistant")
]


def start_varied_cycle(daemon: RunningDaemon) -> str:
    exchanges = [make_exchange(n, history=HISTORY) for n in range(12)]
    daemon.http.post("/v1/experiences/batch", json=exchanges).raise_for_status()
    wanted = {"variations": KINDS, "variation_share": 3}
    response = daemon.http.post("/v1/sleep-cycles", json={"force": True, "overrides": wanted})
    assert response.status_code == 202, response.text
    cycle_id: str = response.json()["id"]
    return cycle_id


def kill_child_in_training(daemon: RunningDaemon, cycle_id: str) -> None:
    progress = daemon.wait_for_step(cycle_id)
    assert progress["step"] < progress["total_steps"]
    (child,) = psutil.Process(daemon.process.pid).children()
    child.kill()


def test_varied_cycle_is_marked_resumed_and_reproduced(
    start_daemon: StartDaemon, tiny_model: Path
) -> None:
    daemon = start_daemon(base_model=tiny_model, **SETTINGS)
    http = daemon.http
    cycle_id = start_varied_cycle(daemon)
    kill_child_in_training(daemon, cycle_id)
    cycle = daemon.wait_for_cycle(cycle_id)
    assert cycle["status"] in {"succeeded", "rejected"}, daemon.log
    assert cycle["attempts"] == 2

    plan, told = cycle["plan"], cycle["metrics"]["variations"]
    assert (plan["recipe"]["variations"], plan["recipe"]["variation_share"]) == (KINDS, 3)
    counts = {count["kind"]: count for count in told["counts"]}
    assert list(counts) == KINDS
    assert all(count["made"] == len(plan["experience_ids"]) for count in counts.values())
    kept = sum(count["kept"] for count in told["counts"])
    trained = len(plan["experience_ids"]) + kept
    assert counts["dropped_context"]["kept"] > 0
    assert cycle["metrics"]["steps"] == SETTINGS["epochs"] * trained
    sources = {finding["experience_id"] for finding in told["findings"]}
    assert sources == set(plan["experience_ids"])
    assert sources.isdisjoint(plan["held_out_ids"])
    assert cycle["metrics"]["held_out_before"]["experiences"] == len(plan["held_out_ids"])

    path = f"/v1/checkpoints/{cycle['checkpoint_id']}/files/manifest.json"
    manifest = http.get(path).json()
    assert manifest["metrics"]["variations"] == told
    assert manifest["experience_ids"]["train"] == plan["experience_ids"]
    report = http.get(f"/v1/sleep-cycles/{cycle_id}/report?format=json").json()
    assert {count["kind"]: count for count in report["variations"]} == counts
    page = http.get(f"/v1/sleep-cycles/{cycle_id}/report?format=html").text
    assert "variations that were made (dropped context)" in page
    for place in (json.dumps(cycle), json.dumps(manifest), json.dumps(report), page, daemon.log):
        assert "basil user" not in place
        assert "What did we learn about the" not in place

    daemon.stop()
    with entered(daemon.data_dir) as left:
        outcome = make_again(left, cycle["checkpoint_id"])
    assert outcome.is_reproduced, outcome.explanation()


@pytest.mark.daemon(variations="dropped_context")
def test_kinds_are_set_for_daemon_instance_and_cycle_and_unknown_ones_refused(
    shared_daemon: RunningDaemon,
) -> None:
    http = shared_daemon.http
    default = http.get("/v1/instances/default").json()["recipe"]
    assert (default["variations"], default["variation_share"]) == (["dropped_context"], 0.5)
    recipe = {"variations": ["shuffled_context"], "variation_share": 1.5}
    put = http.put("/v1/instances/other", json={"recipe": recipe})
    assert put.status_code == 201, put.text

    def preview(**overrides: Any) -> Any:
        body = {"instance": "other", "dry_run": True, "force": True, "overrides": overrides}
        return http.post("/v1/sleep-cycles", json=body)

    assert preview().json()["plan"]["recipe"]["variations"] == ["shuffled_context"]
    chosen = preview(variations=["paraphrased_prompt"]).json()["plan"]["recipe"]
    assert (chosen["variations"], chosen["variation_share"]) == (["paraphrased_prompt"], 1.5)
    assert preview(variations=[]).json()["plan"]["recipe"]["variations"] == []
    assert preview(variations=["translated"]).status_code == 422
    assert preview(variation_share=4).status_code == 422
