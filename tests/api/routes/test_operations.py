"""Health, readiness, statistics, metrics, and unknown addresses."""

from __future__ import annotations

import re
from pathlib import Path

import psutil

from tests.support import RunningDaemon, StartDaemon, make_exchange, run_command


def test_ready_daemon_and_its_statistics(start_daemon: StartDaemon, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    daemon = start_daemon(base_model=tmp_path / "model")
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


def test_missing_base_model_degrades_and_says_what_to_do(daemon: RunningDaemon) -> None:
    ready = daemon.http.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert "sage-sleep model fetch" in ready.json()["checks"]["base_model"]


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


def test_daemon_without_a_database_says_what_to_do(tmp_path: Path) -> None:
    result = run_command("serve", environment={"SAGE_DATA_DIR": str(tmp_path)}, check=False)
    assert result.returncode == 1
    assert "sage-sleep migrate" in result.stderr


def test_sigterm_ends_an_idle_daemon_cleanly(start_daemon: StartDaemon) -> None:
    daemon = start_daemon()
    assert daemon.stop() in {0, -15}
    assert "daemon.stopped" in daemon.log
