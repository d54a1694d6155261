"""Health, readiness, statistics, metrics, and unknown addresses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from app.db.engine import SCHEMA_REVISION, Database
from app.domain.instance import EMBEDDED_MODEL_NAME
from tests.shared_daemons import make_broken_model
from tests.support import RunningDaemon, StartDaemon, make_exchange, run_command


def test_ready_daemon_and_its_statistics(start_daemon: StartDaemon, tmp_path: Path) -> None:
    daemon = start_daemon(base_model=make_broken_model(tmp_path / "model"))
    assert daemon.http.get("/readyz").json()["status"] == "ready"
    daemon.http.post("/v1/experiences/batch", json=[make_exchange(n) for n in range(12)])
    stats = daemon.http.get("/stats").json()
    (item,) = stats["instances"]
    assert item["instance"] == "default"
    assert item["mass"] == item["decision"]["mass"] > 5
    assert item["mass_threshold"] == 20.0
    assert set(item["salience_averages"]) >= {"surprise", "novelty", "total"}
    assert item["last_cycle"] is item["current_checkpoint"] is None
    metrics = daemon.http.get("/metrics").text
    assert 'sage_sleep_mass_threshold{instance="default"} 20.0' in metrics
    assert "sage_sleep_worker_up 1.0" in metrics
    assert stats["health"] == daemon.http.get("/readyz").json()
    disk = stats["disk"]
    assert 0 < disk["free_bytes"] < disk["total_bytes"]
    assert disk["database_bytes"] > 0
    assert (disk["checkpoints_bytes"], stats["active"], stats["instance_count"]) == (0, [], 1)
    page = daemon.http.get("/docs").text
    assert "http://" not in page
    assert "https://" not in page
    for name in re.findall(r"/docs/files/[\w.-]+", page):
        assert daemon.http.get(name).raise_for_status().content


def test_statistics_are_searched_by_part_of_a_name_and_paged(daemon: RunningDaemon) -> None:
    http = daemon.http
    for name in ("sprout-a", "sprout-b", "other_x"):
        http.put(f"/v1/instances/{name}", json={})
    first = http.get("/stats?q=SPROUT&limit=1").json()
    assert ([item["instance"] for item in first["instances"]], first["next"]) == (
        ["sprout-a"],
        "sprout-a",
    )
    second = http.get("/stats?q=SPROUT&limit=1&cursor=sprout-a").json()
    assert [item["instance"] for item in second["instances"]] == ["sprout-b"]
    assert not second["has_more"]
    found = http.get("/stats", params={"q": "r_x"}).json()["instances"]
    assert [item["instance"] for item in found] == ["other_x"]
    assert http.get("/stats", params={"q": "%"}).json()["instances"] == []


@pytest.mark.daemon(base_model="/nowhere/garden-model")
def test_missing_base_model_degrades_and_says_what_to_do(daemon: RunningDaemon) -> None:
    ready = daemon.http.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert "sage-sleep model fetch" in ready.json()["checks"]["base_model"]
    assert "nowhere" not in ready.text


@pytest.mark.daemon(base_model="/nowhere/garden-model")
def test_cycle_without_its_base_model_is_refused_before_it_starts(daemon: RunningDaemon) -> None:
    http = daemon.http
    http.post("/v1/experiences/batch", json=[make_exchange(n) for n in range(20)])
    for path, body in (
        ("/v1/sleep-cycles", {"force": True}),
        ("/v1/instances/default/rebuild", {"reason": "tried"}),
    ):
        refused = http.post(path, json=body)
        assert refused.status_code == 409, refused.text
        problem = refused.json()
        assert problem["type"].endswith("base-model-absent")
        assert "garden-model" in problem["detail"]
        assert "sage-sleep model fetch" in problem["detail"]
        assert "/nowhere" not in problem["detail"]
    preview = http.post("/v1/sleep-cycles", json={"force": True, "dry_run": True}).json()
    assert preview["refused"]["code"] == "base-model-absent"
    (item,) = http.get("/stats").json()["instances"]
    decision = http.get("/v1/instances/default/sleep-decision").json()
    for reasons in (item["decision"]["reasons"], decision["reasons"]):
        (said,) = [reason for reason in reasons if reason["rule"] == "base_model"]
        assert not said["met"]
        assert "garden-model is not on this machine" in said["text"]
    assert http.get("/v1/sleep-cycles").json()["data"] == []
    port = str(http.base_url.port)
    shown = run_command("stats", environment={"SAGE_PORT": port, "COLUMNS": "200"})
    assert "garden-model is not on this machine" in shown.stdout


def test_hub_model_of_an_instance_that_nobody_fetched_is_missing_for_it_alone(
    daemon: RunningDaemon,
) -> None:
    http = daemon.http
    http.put("/v1/instances/own", json={"base_model": "owner/garden-model"})
    exchanges = [make_exchange(n, instance="own") for n in range(20)]
    http.post("/v1/experiences/batch", json=exchanges)
    refused = http.post("/v1/sleep-cycles", json={"instance": "own", "force": True}).json()
    assert refused["type"].endswith("base-model-absent")
    assert "sage-sleep model fetch owner/garden-model" in refused["detail"]
    for slug, is_missing in (("own", True), ("default", False)):
        reasons = http.get(f"/v1/instances/{slug}/sleep-decision").json()["reasons"]
        assert ("base_model" in [reason["rule"] for reason in reasons]) is is_missing
    assert http.get("/readyz").json()["status"] == "ready"


def test_unknown_address_and_method_are_problems(daemon: RunningDaemon) -> None:
    http = daemon.http
    for response in (http.get("/nothing"), http.put("/stats"), http.get("/stats?instance=no")):
        assert response.status_code in {404, 405}
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["status"] == response.status_code


def test_api_process_holds_no_torch(daemon: RunningDaemon) -> None:
    maps = {m.path for m in psutil.Process(daemon.process.pid).memory_maps()}
    assert not [path for path in maps if "torch" in path]


def test_second_daemon_on_a_data_directory_refuses_to_start(daemon: RunningDaemon) -> None:
    environment = {"SAGE_DATA_DIR": str(daemon.data_dir), "SAGE_PORT": "0"}
    second = run_command("serve", environment=environment, check=False)
    assert second.returncode == 1
    assert "A daemon, or" in second.stderr


@pytest.mark.sqlite_file("that a daemon makes it")
def test_daemon_makes_its_database_and_says_where_it_listens_and_where_all_lies(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    place = tmp_path / "new"
    daemon = start_daemon(data_dir=place, log_format="pretty")
    assert daemon.http.post("/v1/experiences", json=make_exchange(1)).status_code == 201
    said = daemon.log
    assert f"listens on {str(daemon.http.base_url).rstrip('/')}" in said
    assert f"data   {place}" in said
    assert f"model  {place / 'models' / EMBEDDED_MODEL_NAME} (not there)" in said
    assert "sage-sleep model fetch" in said
    assert place.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in place.iterdir() if file.is_file()} == {0o600}


def test_log_of_programs_says_the_same_as_one_event_each(start_daemon: StartDaemon) -> None:
    lines = [json.loads(line) for line in start_daemon().log.splitlines()]
    (listening,) = [line for line in lines if line["event"] == "daemon.listening"]
    assert {"url", "data_dir", "database", "base_model"} <= listening.keys()
    assert "base_model.absent" in [line["event"] for line in lines]


def test_older_database_still_wants_migrate(db: Database, data_dir: Path) -> None:
    environment = {"SAGE_DATA_DIR": str(data_dir), "SAGE_PORT": "0"}
    with db.write() as session:
        session.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))
    older = run_command("serve", environment=environment, check=False)
    with db.write() as session:
        session.execute(
            sa.text("UPDATE alembic_version SET version_num = :own"), {"own": SCHEMA_REVISION}
        )
    assert (older.returncode, "sage-sleep migrate" in older.stderr) == (1, True)


@pytest.mark.sqlite_file("that it is gone")
def test_checkpoints_without_a_database_are_no_beginning(data_dir: Path) -> None:
    environment = {"SAGE_DATA_DIR": str(data_dir), "SAGE_PORT": "0"}
    (data_dir / "sage-sleep.db").unlink()
    (data_dir / "checkpoints" / "default" / "1-x").mkdir(parents=True)
    alone = run_command("serve", environment=environment, check=False)
    assert alone.returncode == 1
    assert "SAGE_DATABASE_URL" in alone.stderr
    assert not (data_dir / "sage-sleep.db").exists()


def test_sigterm_ends_an_idle_daemon_cleanly(start_daemon: StartDaemon) -> None:
    daemon = start_daemon()
    assert daemon.stop() in {0, -15}
    assert "daemon.stopped" in daemon.log
