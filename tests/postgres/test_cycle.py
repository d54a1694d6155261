"""A daemon on PostgreSQL over a real socket: exchanges, a cycle, promotion, the way back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.postgres.server import PostgresServer
from tests.support import RunningDaemon, end, launch, make_exchange, run_command

SETTINGS: dict[str, Any] = {
    "scheduler_interval_seconds": 3600,
    "probe_prompts": "[]",
    "epochs": 1,
    "batch_size": 1,
    "r": 4,
    "max_length": 160,
    "anchor_weight": 0,
}


@pytest.fixture(scope="module")
def url(postgres_server: PostgresServer) -> Iterator[str]:
    """A migrated database of a server."""
    lent = postgres_server.lend()
    yield lent
    postgres_server.take_back(lent)


@pytest.fixture(scope="module")
def data_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the daemon keeps beside the database."""
    return tmp_path_factory.mktemp("on-postgres")


@pytest.fixture(scope="module")
def daemon(url: str, data_directory: Path, tiny_model: Path) -> Iterator[RunningDaemon]:
    """One daemon for all."""
    running = launch(
        data_directory,
        data_directory.with_suffix(".log"),
        database_url=url,
        base_model=tiny_model,
        **SETTINGS,
    )
    yield running
    end(running)


def test_life_of_an_instance(daemon: RunningDaemon) -> None:
    http = daemon.http
    first = http.post("/v1/experiences", json=make_exchange(0))
    assert first.status_code == 201, first.text
    others = [make_exchange(number) for number in range(1, 24)]
    http.post("/v1/experiences/batch", json=others).raise_for_status()
    again = http.post("/v1/experiences", json=make_exchange(3))
    assert again.status_code == 200
    assert len(http.get("/v1/experiences", params={"limit": 100}).json()["data"]) == 24
    assert http.get("/stats").status_code == 200
    assert http.get("/readyz").status_code == 200

    asked = http.post("/v1/sleep-cycles", json={"force": True})
    assert asked.status_code == 202, asked.text
    cycle = daemon.wait_for_cycle(asked.json()["id"])
    assert cycle["status"] in {"succeeded", "rejected"}, (cycle, daemon.log)
    checkpoint = cycle["checkpoint_id"]
    if cycle["status"] == "rejected":
        forced = {"force": True, "reason": "a test"}
        promoted = http.post(f"/v1/checkpoints/{checkpoint}/promote", json=forced)
        assert promoted.status_code == 200, promoted.text
    assert checkpoint in http.get("/v1/instances/default/aliases").text
    back = http.post("/v1/instances/default/rollback", json={"reason": "a test"})
    assert back.status_code == 200, back.text
    assert checkpoint not in str(http.get("/v1/instances/default/aliases").json())

    erased = http.get("/v1/experiences").json()["data"][0]["id"]
    assert http.delete(f"/v1/experiences/{erased}").status_code == 200
    assert http.get(f"/v1/experiences/{erased}").json()["response"] == ""


def test_second_daemon_and_what_is_sqlites_alone_are_refused(
    daemon: RunningDaemon, url: str, tmp_path: Path
) -> None:
    del daemon
    environment = {"SAGE_DATABASE_URL": url, "SAGE_DATA_DIR": str(tmp_path)}
    second = run_command("serve", environment=environment, check=False)
    assert second.returncode != 0
    assert "A daemon" in second.stderr + second.stdout
    backup = run_command("backup", str(tmp_path / "b"), environment=environment, check=False)
    assert backup.returncode != 0
