"""Two cycles in a row on a real server with real children, and all that is asked about them after.

One daemon and two cycles serve all the tests of this file; they read what those left. The model is
tiny; the embedded one learns in `tests.worker.test_learning`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.patience import seconds_left
from tests.support import RunningDaemon, end, launch
from tests.tiny import LOOSE

SESSION = Path(__file__).parents[2] / "app" / "demo_session.json"

SETTINGS: dict[str, Any] = {
    "scheduler_interval_seconds": 3600,
    "min_interval_seconds": 0,
    "learning_rate": 5e-3,
    "r": 4,
    "epochs": 1,
    **{f"gate_{name}": value for name, value in asdict(LOOSE).items() if name != "scales"},
}
"""A recipe that the tiny model feels, and a gate that lets it through."""


@dataclass
class Night:
    """What two cycles in a row left behind."""

    daemon: RunningDaemon
    first: dict[str, Any]
    second: dict[str, Any]
    counts_between: dict[str, int]
    nothing_left: httpx.Response
    aliases: dict[str, Any]


def session() -> list[dict[str, Any]]:
    return [{"prompt": p, "response": r} for p, r in json.loads(SESSION.read_text())]


@pytest.fixture(scope="module")
def night(
    tmp_path_factory: pytest.TempPathFactory, migrated_file: Path, tiny_model: Path, kept: Path
) -> Iterator[Night]:
    data_dir = tmp_path_factory.mktemp("night")
    shutil.copy(migrated_file, data_dir / "sage-sleep.db")
    (data_dir / "kept").symlink_to(kept)
    daemon = launch(data_dir, data_dir / "daemon.log", base_model=tiny_model, **SETTINGS)
    http = daemon.http
    try:
        exchanges = session()
        http.post("/v1/experiences/batch", json=exchanges[:18]).raise_for_status()
        first = run_cycle(daemon)
        between = http.get("/stats").json()["instances"][0]["counts"]
        nothing_left = http.post("/v1/sleep-cycles", json={"force": True})
        http.post("/v1/experiences/batch", json=exchanges[18:]).raise_for_status()
        second = run_cycle(daemon)
        aliases = http.get("/v1/instances/default/aliases").json()
        yield Night(daemon, first, second, between, nothing_left, aliases)
    finally:
        end(daemon)


def run_cycle(daemon: RunningDaemon) -> dict[str, Any]:
    response = daemon.http.post("/v1/sleep-cycles", json={"force": True})
    assert response.status_code == 202, response.text
    cycle = daemon.wait_for_cycle(response.json()["id"])
    assert cycle["status"] == "succeeded", daemon.log
    return cycle


def test_every_experience_is_consumed_exactly_once(night: Night) -> None:
    first, second = (set(cycle["plan"]["experience_ids"]) for cycle in (night.first, night.second))
    assert first
    assert second
    assert first.isdisjoint(second)
    assert night.counts_between["consolidated"] == len(first)
    assert night.counts_between["buffered"] == night.counts_between["claimed"] == 0
    counts = night.daemon.http.get("/stats").json()["instances"][0]["counts"]
    assert counts["consolidated"] == len(first) + len(second)


def test_second_cycle_right_after_has_nothing_to_train_on_and_says_so(night: Night) -> None:
    assert night.nothing_left.status_code == 409
    assert night.nothing_left.json()["type"].endswith("nothing-to-consolidate")


def test_second_cycle_starts_from_the_first_ones_adapter(night: Night) -> None:
    assert night.first["plan"]["parent_checkpoint_id"] is None
    assert night.second["plan"]["parent_checkpoint_id"] == night.first["checkpoint_id"]
    assert night.aliases["current"] == night.second["checkpoint_id"]
    assert night.aliases["previous"] == night.first["checkpoint_id"]


def test_files_have_their_sha256_as_etag_and_serve_ranges(night: Night) -> None:
    http = night.daemon.http
    checkpoint = http.get(f"/v1/checkpoints/{night.first['checkpoint_id']}").json()
    assert {file["name"] for file in checkpoint["files"]} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "manifest.json",
    }
    for file in checkpoint["files"]:
        path = f"/v1/checkpoints/{checkpoint['id']}/files/{file['name']}"
        whole = http.get(path)
        assert hashlib.sha256(whole.content).hexdigest() == file["sha256"]
        assert whole.headers["etag"] == f'"{file["sha256"]}"'
        part = http.get(path, headers={"Range": "bytes=2-5"})
        assert (part.status_code, part.content) == (206, whole.content[2:6])
        unchanged = http.get(path, headers={"If-None-Match": whole.headers["etag"]})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        assert int(http.head(path).headers["content-length"]) == file["size_bytes"]
        behind = http.get(path, headers={"Range": "bytes=999999999999-"})
        assert (behind.status_code, behind.json()["status"]) == (416, 416)
        for odd in ("bytes=5-2", "bytes=" + "9" * 5000 + "-", "lines=1-2", "bytes=0-1,4-5"):
            assert http.get(path, headers={"Range": odd}).content == whole.content


@pytest.mark.parametrize("name", ["..%2F..%2Fsage-sleep.db", "sage-sleep.db", "%2Fetc%2Fpasswd"])
def test_no_name_from_a_client_reaches_the_file_system(night: Night, name: str) -> None:
    path = f"/v1/checkpoints/{night.first['checkpoint_id']}/files/{name}"
    assert night.daemon.http.get(path).status_code == 404


def test_archive_is_one_tar_with_a_known_hash(night: Night) -> None:
    http = night.daemon.http
    checkpoint = http.get(f"/v1/checkpoints/{night.first['checkpoint_id']}").json()
    path = f"/v1/checkpoints/{checkpoint['id']}/archive"
    whole = http.get(path)
    assert hashlib.sha256(whole.content).hexdigest() == checkpoint["archive"]["sha256"]
    assert whole.headers["etag"] == f'"{checkpoint["archive"]["sha256"]}"'
    assert len(whole.content) == checkpoint["archive"]["size_bytes"]
    with tarfile.open(fileobj=BytesIO(whole.content)) as archive:
        root = checkpoint["name"].replace("/", "-")
        for file in checkpoint["files"]:
            member = archive.extractfile(f"{root}/{file['name']}")
            assert member is not None
            assert hashlib.sha256(member.read()).hexdigest() == file["sha256"]
    for first, last in [(0, 9), (500, 5000), (len(whole.content) - 10, len(whole.content) - 1)]:
        part = http.get(path, headers={"Range": f"bytes={first}-{last}"})
        assert (part.status_code, part.content) == (206, whole.content[first : last + 1])
    tail = http.get(path, headers={"Range": "bytes=-100"})
    assert tail.content == whole.content[-100:]


def test_manifest_holds_the_whole_story(night: Night) -> None:
    http = night.daemon.http
    checkpoint = http.get(f"/v1/checkpoints/{night.second['checkpoint_id']}").json()
    manifest = http.get(f"/v1/checkpoints/{checkpoint['id']}/files/manifest.json").json()
    assert manifest["parent"] == night.first["checkpoint_id"]
    assert manifest["plan"] == {
        **night.second["plan"],
        "base_model": Path(night.second["plan"]["base_model"]).name,
    }
    assert manifest["experience_ids"]["train"] == night.second["plan"]["experience_ids"]
    assert manifest["base_model"]["revision"] == checkpoint["base_sha256"]
    hashes = {name: file["sha256"] for name, file in manifest["files"].items()}
    served = {file["name"]: file["sha256"] for file in checkpoint["files"]}
    assert hashes == {name: served[name] for name in served if name != "manifest.json"}
    used = {item["experience_id"]: item["role"] for item in checkpoint["experiences"]}
    assert set(used.values()) == {"train", "rehearsal", "held_out"}
    rehearsed = [name for name, role in used.items() if role == "rehearsal"]
    assert sorted(manifest["experience_ids"]["rehearsal"]) == sorted(rehearsed)


def test_experience_names_its_cycles_and_checkpoints(night: Night) -> None:
    experience_id = night.second["plan"]["experience_ids"][0]
    found = night.daemon.http.get(f"/v1/experiences/{experience_id}").json()
    (use,) = found["sleep_cycles"]
    assert (use["role"], use["checkpoint_id"]) == ("train", night.second["checkpoint_id"])
    assert use["weight"] == pytest.approx(found["salience"]["total"])


def test_promote_and_roll_back_down_to_the_base_and_up_again(night: Night) -> None:
    http = night.daemon.http
    first, second = night.first["checkpoint_id"], night.second["checkpoint_id"]
    etag = http.get("/v1/instances/default/aliases").headers["etag"]

    def roll_back(**headers: str) -> httpx.Response:
        return http.post("/v1/instances/default/rollback", json={"reason": "try"}, headers=headers)

    assert roll_back(**{"If-Match": '"999", W/"x"'}).status_code == 412
    assert roll_back(**{"If-Match": f'"999", {etag}'}).json()["current"] == first
    assert roll_back(**{"If-Match": etag}).status_code == 412
    assert roll_back().json()["current"] is None
    assert roll_back().status_code == 409
    promoted = http.post(f"/v1/checkpoints/{second}/promote", json={"actor": "me"})
    assert promoted.json()["current"] == second
    assert http.delete(f"/v1/checkpoints/{second}").status_code == 409
    history = http.get("/v1/instances/default/aliases/history").json()["data"]
    assert (history[-1]["action"], history[-1]["to_checkpoint_id"]) == ("promote", first)
    assert {"me", "api", "cycle 1", "cycle 2"} <= {move["actor"] for move in history}


def test_note_and_pin(night: Night) -> None:
    path = f"/v1/checkpoints/{night.second['checkpoint_id']}"
    patched = night.daemon.http.patch(path, json={"note": "kept", "pinned": True}).json()
    assert (patched["note"], patched["pinned"]) == ("kept", True)
    assert night.daemon.http.patch(path, json={"name": "x"}).status_code == 422


WATCHING = """
import threading
from app.worker.child import watch_parent
watch_parent()
threading.Event().wait({seconds})
"""


@pytest.mark.parametrize(("is_parent_gone", "seconds", "code"), [(False, 0.3, 0), (True, 60.0, 70)])
def test_child_ends_normally_beside_its_parent_and_at_once_without(
    *, is_parent_gone: bool, seconds: float, code: int
) -> None:
    command = [sys.executable, "-c", WATCHING.format(seconds=seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        assert child.stdin is not None
        if is_parent_gone:
            child.stdin.close()
        assert child.wait(seconds_left()) == code
