"""`sage-sleep mirror` and its routes, against a daemon whose mirror is a directory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.artifacts.directories import describe_files, write_manifest
from app.domain.checkpoint import ADAPTER_FILE, CONFIG_FILE
from app.errors import RuntimeUnavailable
from app.runtimes.rclone import find_rclone
from tests.fuzz.test_inputs import whole_manifest
from tests.shared_daemons import make_broken_model
from tests.support import RunningDaemon, StartDaemon, make_exchange, run_command

try:
    find_rclone()
except RuntimeUnavailable as absent:
    pytest.skip(f"a real rclone is the point: {absent}", allow_module_level=True)

ID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
NAME = f"legion/3-{ID}"


def put(mirror: Path) -> None:
    """Be another machine, and put a checkpoint there."""
    directory = mirror / NAME
    directory.mkdir(parents=True)
    (directory / CONFIG_FILE).write_text("{}")
    (directory / ADAPTER_FILE).write_bytes(b"weights")
    files = {
        file.name: {"size_bytes": file.size_bytes, "sha256": file.sha256}
        for file in describe_files(directory)
    }
    cycle = {"id": "01Y", "number": 3}
    own = {"id": ID, "name": NAME, "instance": "legion", "cycle": cycle, "files": files}
    write_manifest(directory, {**whole_manifest(), **own})


@pytest.fixture
def daemon(
    start_daemon: StartDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> RunningDaemon:
    put(tmp_path / "mirror")
    monkeypatch.setenv("RCLONE_CONFIG_BOX_TYPE", "local")
    daemon = start_daemon(
        mirror=f"box:{tmp_path}/mirror",
        base_model=make_broken_model(tmp_path / "broken"),
        scheduler_interval_seconds=3600,
    )
    daemon.http.post("/v1/experiences/batch", json=[make_exchange(n) for n in range(30)])
    return daemon


def test_what_lies_in_the_mirror_is_listed_and_pulled(daemon: RunningDaemon) -> None:
    environment = {"SAGE_PORT": str(daemon.http.base_url.port), "COLUMNS": "80"}
    listed = run_command("mirror", "list", environment=environment)
    assert max(map(len, listed.stdout.splitlines())) <= 80
    assert listed.stdout.splitlines()[1].split()[:3] == [ID[:10], "legion", "3"]
    assert "push_to_mirror" in listed.stderr
    (found,) = json.loads(run_command("mirror", "list", "--json", environment=environment).stdout)[
        "checkpoints"
    ]
    assert (found["instance"], found["id"], found["fault"]) == ("legion", ID, None)
    pulled = run_command("mirror", "pull", ID[:12], "--json", environment=environment)
    cycle = json.loads(pulled.stdout)
    assert (cycle["trigger"], cycle["plan"]["adopted_from"]["name"]) == ("adopt", NAME)
    ended = daemon.wait_for_cycle(cycle["id"])
    assert ended["status"] == "failed"  # there is no base here to measure it with
    refused = run_command("mirror", "pull", "01Z", environment=environment, check=False)
    assert (refused.returncode, "`sage-sleep mirror list`" in refused.stderr) == (1, True)
    metrics = daemon.http.get("/metrics").text
    assert "sage_sleep_mirror_waiting 0.0" in metrics
    assert "sage_sleep_mirror_failing 0.0" in metrics


def test_without_a_mirror_it_is_said_how_to_name_one(shared_daemon: RunningDaemon) -> None:
    for answer in (
        shared_daemon.http.get("/v1/instances/default/mirror"),
        shared_daemon.http.post("/v1/instances/default/mirror/pull", json={"checkpoint": NAME}),
    ):
        assert (answer.status_code, "SAGE_MIRROR" in answer.json()["detail"]) == (409, True)
    for name in ("../../etc/3", "legion/../3", f"legion/0-{ID}", f"Legion/3-{ID}", f"a/b/3-{ID}"):
        answer = shared_daemon.http.post(
            "/v1/instances/default/mirror/pull", json={"checkpoint": name}
        )
        assert answer.status_code == 422, name
