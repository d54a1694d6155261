"""Reports, rebuilds, provenance, damage and the instance's events over a real socket."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.db.engine import Database
from app.services import registry
from tests.publishing import publish
from tests.support import RunningDaemon, StartDaemon

BAD = {"session": "s-1", "repetition_ratio": 0.9, "score": 0.1}


@pytest.fixture
def made(db: Database, data_dir: Path) -> list[str]:
    """Two checkpoints, the second one current."""
    root = data_dir / "checkpoints"
    return [publish(db, root, range(n, n + 20))[0] for n in (0, 20)]


@pytest.fixture
def daemon(made: list[str], shared_daemon: RunningDaemon) -> RunningDaemon:
    """A daemon with these checkpoints, whose base model is not there."""
    assert made
    return shared_daemon


def read(daemon: RunningDaemon, path: str, **query: Any) -> dict[str, Any]:
    response = daemon.http.get(path, params=query)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def test_reports_come_in_are_listed_and_the_third_bad_one_rolls_back(
    daemon: RunningDaemon, made: list[str]
) -> None:
    path = f"/v1/checkpoints/{made[1]}/reports"
    good = daemon.http.post(path, json={"session": "s", "repetition_ratio": 0, "note": "fine"})
    assert good.status_code == 201
    assert (good.json()["counted"], good.json()["faults"]) == (True, [])
    answers = [daemon.http.post(path, json={**BAD, "session": f"s-{n}"}).json() for n in range(3)]
    assert [answer["rolled_back"] for answer in answers] == [False, False, True]
    assert len(answers[0]["faults"]) == 2
    assert read(daemon, "/v1/instances/default/aliases")["current"] == made[0]
    assert read(daemon, f"/v1/checkpoints/{made[1]}")["regressed_at"] is not None
    page = read(daemon, path, limit=3)
    rest = read(daemon, path, limit=3, cursor=page["next"])
    assert (page["has_more"], rest["has_more"], len(rest["data"])) == (True, False, 1)
    assert rest["data"][0]["note"] == "fine"
    moves = read(daemon, "/v1/instances/default/aliases/history")["data"]
    assert {"live-regression"} == {move["actor"] for move in moves[:2]}
    refused = daemon.http.post(f"/v1/checkpoints/{made[1]}/promote")
    assert refused.status_code == 409
    forced = {"force": True, "reason": "looked at it"}
    assert daemon.http.post(f"/v1/checkpoints/{made[1]}/promote", json=forced).is_success


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"repetition_ratio": 1.1}, "/repetition_ratio"),
        ({"repetition_ratio": "0.5"}, "/repetition_ratio"),
        ({"score": -0.1}, "/score"),
        ({"session": ""}, "/session"),
        ({"mood": 1}, "/mood"),
    ],
)
def test_bad_report_is_refused_with_a_pointer(
    daemon: RunningDaemon, made: list[str], change: dict[str, object], pointer: str
) -> None:
    response = daemon.http.post(f"/v1/checkpoints/{made[1]}/reports", json={**BAD, **change})
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == pointer


def test_report_sent_again_answers_200_and_another_under_its_name_is_refused(
    daemon: RunningDaemon, made: list[str]
) -> None:
    path = f"/v1/checkpoints/{made[1]}/reports"
    named = {**BAD, "report_id": "r-1"}
    answers = [daemon.http.post(path, json=named) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 200]
    assert answers[0].json() == answers[1].json()
    other = daemon.http.post(path, json={**named, "score": 0.2})
    assert (other.status_code, other.json()["type"]) == (
        409,
        "urn:sage-sleep:problem:report-id-conflict",
    )
    headers = {"Idempotency-Key": "k"}
    answers = [daemon.http.post(path, json=BAD, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 200]
    assert daemon.http.post(path, json={**BAD, "score": 0}, headers=headers).status_code == 422


def test_unknown_checkpoint_or_cursor_is_a_problem(daemon: RunningDaemon, made: list[str]) -> None:
    assert daemon.http.post("/v1/checkpoints/none/reports", json=BAD).status_code == 404
    assert daemon.http.get("/v1/checkpoints/none/reports").status_code == 404
    assert daemon.http.get("/v1/checkpoints/none/experiences").status_code == 404
    assert daemon.http.get("/v1/instances/none/events").status_code == 404
    assert daemon.http.post("/v1/instances/none/rebuild").status_code == 404
    for path in ("reports", "experiences"):
        response = daemon.http.get(f"/v1/checkpoints/{made[1]}/{path}?cursor=nonsense")
        assert response.status_code == 422
        assert response.json()["errors"][0]["parameter"] == "cursor"


def test_provenance_is_paged_and_reaches_the_ancestors(
    daemon: RunningDaemon, made: list[str]
) -> None:
    path = f"/v1/checkpoints/{made[1]}/experiences"
    whole = read(daemon, path)["data"]
    assert [use["checkpoint_id"] for use in whole] == sorted(
        (use["checkpoint_id"] for use in whole), reverse=True
    )
    assert {use["checkpoint_id"] for use in whole} == set(made)
    paged: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = read(daemon, path, limit=7, **({"cursor": cursor} if cursor else {}))
        paged += page["data"]
        cursor = page["next"]
        if not page["has_more"]:
            break
    assert paged == whole
    own = read(daemon, path, ancestors=False, role="train")["data"]
    assert {(use["checkpoint_id"], use["role"]) for use in own} == {(made[1], "train")}
    one = read(daemon, f"/v1/experiences/{own[0]['experience_id']}")
    assert [use["checkpoint_id"] for use in one["sleep_cycles"]] == [made[1]]


def test_erasing_names_and_marks_the_checkpoints_and_a_rebuild_starts_without_it(
    daemon: RunningDaemon, made: list[str]
) -> None:
    uses = read(daemon, f"/v1/checkpoints/{made[0]}/experiences", role="train")["data"]
    erased = uses[0]["experience_id"]
    answer = daemon.http.delete(f"/v1/experiences/{erased}").json()
    assert answer["checkpoints"] == made
    assert all(read(daemon, f"/v1/checkpoints/{item}")["tainted_at"] for item in made)
    response = daemon.http.post("/v1/instances/default/rebuild", json={"reason": "erased one"})
    assert response.status_code == 202
    cycle = response.json()
    assert response.headers["location"] == f"/v1/sleep-cycles/{cycle['id']}"
    assert cycle["trigger"] == "rebuild"
    assert cycle["plan"]["parent_checkpoint_id"] is None
    assert erased not in cycle["plan"]["experience_ids"]
    assert daemon.wait_for_cycle(cycle["id"])["error"]["code"] == "base-model-not-found"
    counts = read(daemon, "/stats")["instances"][0]["counts"]
    assert counts["consolidated"] == 2 * len(uses) - 1 or counts["consolidated"] > len(uses)
    assert counts["claimed"] == 0
    assert read(daemon, "/v1/instances/default/aliases")["current"] == made[1]


def test_rebuild_of_an_instance_that_never_slept_is_refused_in_words(
    shared_daemon: RunningDaemon,
) -> None:
    response = shared_daemon.http.post("/v1/instances/default/rebuild")
    assert response.status_code == 409
    assert response.json()["type"].endswith("nothing-to-rebuild-from")
    assert "let it sleep" in response.json()["detail"]


def test_rollback_is_announced_to_a_session_that_listens(
    daemon: RunningDaemon, made: list[str]
) -> None:
    path = "/v1/instances/default/events"
    before = read(daemon, path, subject="checkpoint")["data"]
    assert [event["type"] for event in before] == ["checkpoint.promoted"] * 2
    seen: list[dict[str, Any]] = []
    headers = {"Accept": "text/event-stream"}
    query = {"subject": "checkpoint"}
    with daemon.http.stream("GET", path, headers=headers, params=query) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        for n in range(3):
            told = {**BAD, "session": f"s-{n}"}
            daemon.http.post(f"/v1/checkpoints/{made[1]}/reports", json=told)
        for line in response.iter_lines():
            if line.startswith("data: "):
                seen.append(json.loads(line.removeprefix("data: ")))
            if len(seen) == 2:
                break
    assert [event["type"] for event in seen] == ["checkpoint.regressed", "checkpoint.rolled_back"]
    assert (seen[1]["data"]["from"], seen[1]["data"]["to"]) == (made[1], made[0])
    after = read(daemon, path, after=before[-1]["id"], subject="checkpoint", limit=1)
    assert (after["data"], after["has_more"]) == ([seen[0]], True)


def test_damaged_checkpoint_is_never_served(
    start_daemon: StartDaemon,
    db: Database,
    data_dir: Path,
    tmp_path: Path,
) -> None:
    root = data_dir / "checkpoints"
    ids = [publish(db, root, range(n, n + 20))[0] for n in (0, 20, 40)]
    paths = [
        root / registry.get_checkpoint(db, item).row.name / "adapter_config.json" for item in ids
    ]
    paths[2].unlink()
    http = start_daemon(base_model=tmp_path / "none", scheduler_interval_seconds=3600).http
    aliases = http.get("/v1/instances/default/aliases").json()
    assert (aliases["current"], aliases["previous"]) == (ids[1], ids[0])
    gone = http.get(f"/v1/checkpoints/{ids[2]}/archive")
    assert gone.status_code == 410
    assert gone.json()["type"].endswith(":checkpoint-damaged")

    assert http.get(f"/v1/checkpoints/{ids[1]}/archive").status_code == 200
    paths[1].write_text("[]")
    altered = http.get(f"/v1/checkpoints/{ids[1]}/files/adapter_model.safetensors")
    assert altered.status_code == 410
    assert altered.json()["type"].endswith(":checkpoint-files-altered")
    assert http.get("/v1/instances/default/aliases").json()["current"] == ids[0]
    events = http.get("/v1/instances/default/events?subject=checkpoint&limit=500").json()["data"]
    damaged = [item["checkpoint_id"] for item in events if item["type"] == "checkpoint.damaged"]
    assert sorted(damaged) == sorted(ids[1:])
    listed = http.get("/v1/checkpoints?status=damaged").json()["data"]
    assert {item["id"] for item in listed} == set(ids[1:])
    assert http.get("/healthz").status_code == 200
