"""/v1/sleep-cycles over a real socket, where the child's end is told from what it answers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tests.patience import wait_until
from tests.shared_daemons import make_broken_model
from tests.support import RunningDaemon, StartDaemon, make_exchange


@pytest.fixture
def daemon(shared_daemon: RunningDaemon) -> RunningDaemon:
    """A daemon whose base model is not there, so that every cycle fails within seconds."""
    shared_daemon.http.post("/v1/experiences/batch", json=[make_exchange(n) for n in range(30)])
    return shared_daemon


def test_not_due_without_force_says_why(daemon: RunningDaemon) -> None:
    response = daemon.http.post("/v1/sleep-cycles", json={})
    assert response.status_code == 409
    assert response.json()["type"].endswith("sleep-not-due")
    assert "session active" in response.json()["detail"]


def test_decision_is_the_one_that_is_shown(daemon: RunningDaemon) -> None:
    decision = daemon.http.get("/v1/instances/default/sleep-decision").json()
    assert not decision["due"]
    assert {reason["rule"] for reason in decision["reasons"]} == {
        "no_active_cycle",
        "mass",
        "experiences",
        "interval",
        "idle",
        "quiet_hours",
    }


def test_dry_run_answers_200_and_starts_nothing(daemon: RunningDaemon) -> None:
    response = daemon.http.post(
        "/v1/sleep-cycles", json={"dry_run": True, "overrides": {"max_experiences": 5}}
    )
    assert response.status_code == 200
    assert len(response.json()["experience_ids"]) == 5
    assert response.json()["set_aside"] == []
    assert response.json()["error"]["code"] == "base-model-not-found"
    assert daemon.http.get("/v1/sleep-cycles").json()["data"] == []


def test_dry_run_says_in_words_what_the_rules_of_curation_would_do(daemon: RunningDaemon) -> None:
    policy = {
        "max_prompt_share": 0.2,
        "category_floors": {"garden": 0.2, "identity": 0.05},
        "categories": {"garden": ["our basil"]},
    }
    shown = daemon.http.put("/v1/instances/default", json={"policy": policy}).json()
    assert shown["policy"]["categories"]["garden"] == ["our basil"]
    assert "who are you" in shown["policy"]["categories"]["identity"]
    flood = [make_exchange(n, prompt="What is your name?") for n in range(40, 70)]
    copies = [make_exchange(n) for n in range(12)]
    for item in copies:
        item["response"] += " Yes."
    daemon.http.post("/v1/experiences/batch", json=[*flood, *copies])
    answer = daemon.http.post("/v1/sleep-cycles", json={"dry_run": True}).json()
    plan, size = answer["plan"], len(answer["experience_ids"])
    said = {rule["rule"]: rule["text"] for rule in plan["left_out"]}
    copied = "left out: near copies of replies that are taken, Jaccard similarity 0.80 or more"
    assert said["near_copies"].endswith(copied)
    shares = f"left out: at most {size // 5} of {size} of one prompt, 20% and never fewer than 4"
    assert said["prompt_share"].endswith(shares)
    need = math.ceil(0.2 * size)
    assert plan["floors"][0]["text"].startswith("garden: ")
    assert f"of {size}, at least 20% ({need})" in plan["floors"][0]["text"]
    assert f"of {size}, at least 5% (" in plan["floors"][1]["text"]


def test_failed_cycle_names_its_error_and_gives_everything_back(daemon: RunningDaemon) -> None:
    before = daemon.http.get("/stats").json()["instances"][0]["counts"]
    response = daemon.http.post("/v1/sleep-cycles", json={"force": True})
    assert response.status_code == 202
    cycle_id = response.json()["id"]
    assert response.headers["location"] == f"/v1/sleep-cycles/{cycle_id}"
    assert daemon.http.post("/v1/sleep-cycles", json={"force": True}).status_code == 409
    cycle = daemon.wait_for_cycle(cycle_id)
    assert cycle["status"] == "failed"
    assert cycle["error"]["code"] == "base-model-not-found"
    assert "sage-sleep model fetch" in cycle["error"]["message"]
    assert daemon.http.get("/stats").json()["instances"][0]["counts"] == before
    assert list((daemon.data_dir / "checkpoints").glob("*/*")) == []
    cancel = daemon.http.post(f"/v1/sleep-cycles/{cycle_id}/cancel")
    assert cancel.status_code == 409


def test_events_as_a_list_and_as_a_stream(daemon: RunningDaemon) -> None:
    cycle_id = daemon.http.post("/v1/sleep-cycles", json={"force": True}).json()["id"]
    path = f"/v1/sleep-cycles/{cycle_id}/events"
    streamed: list[dict[str, object]] = []
    with daemon.http.stream("GET", path, headers={"Accept": "text/event-stream"}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        streamed += [
            json.loads(line.removeprefix("data: "))
            for line in response.iter_lines()
            if line.startswith("data: ")
        ]
    listed = daemon.http.get(path).json()["data"]
    assert [event for event in streamed if event in listed] == listed
    types = [event["type"] for event in listed]
    assert types[0] == "sleep_cycle.queued"
    assert types[-1] == "sleep_cycle.failed"
    headers = {"Accept": "text/event-stream", "Last-Event-ID": str(listed[0]["id"])}
    with daemon.http.stream("GET", path, headers=headers) as response:
        ids = [line for line in response.iter_lines() if line.startswith("id: ")]
    assert ids == [f"id: {event['id']}" for event in listed]  # where it resumes, then the rest


def test_idempotency_key_starts_one_cycle(daemon: RunningDaemon) -> None:
    headers = {"Idempotency-Key": "night-1"}
    answers = [
        daemon.http.post("/v1/sleep-cycles", json={"force": True}, headers=headers)
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json()["id"] == answers[1].json()["id"]


@pytest.mark.parametrize(
    ("overrides", "pointer"),
    [
        ({"epochs": 0}, "/overrides/epochs"),
        ({"learning_rate": "fast"}, "/overrides/learning_rate"),
        ({"target_modules": ["../q"]}, "/overrides/target_modules/0"),
        ({"unknown": 1}, "/overrides/unknown"),
    ],
)
def test_bad_override_is_refused_with_a_pointer(
    daemon: RunningDaemon, overrides: dict[str, object], pointer: str
) -> None:
    response = daemon.http.post("/v1/sleep-cycles", json={"overrides": overrides})
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == pointer


def test_due_instance_sleeps_by_itself(start_daemon: StartDaemon, tmp_path: Path) -> None:
    daemon = start_daemon(
        base_model=make_broken_model(tmp_path / "model"),
        idle_seconds=0,
        mass_threshold=5,
        scheduler_interval_seconds=3600,
    )
    daemon.http.post("/v1/experiences/batch", json=[make_exchange(n) for n in range(30)])
    cycles = wait_until(lambda: daemon.http.get("/v1/sleep-cycles").json()["data"], "a cycle")
    assert cycles[0]["trigger"] == "schedule"
    assert cycles[0]["decision"]["due"]
