"""Over HTTP: a damaged checkpoint is gone, and what was served before it is current again."""

from __future__ import annotations

from pathlib import Path

from app.db.engine import Database
from app.domain.instance import InstanceDefaults
from app.services import registry
from tests.publishing import publish
from tests.support import StartDaemon


def test_damaged_checkpoint_is_never_served(
    start_daemon: StartDaemon,
    db: Database,
    defaults: InstanceDefaults,
    data_dir: Path,
    tmp_path: Path,
) -> None:
    root = data_dir / "checkpoints"
    ids = [publish(db, defaults, root, range(n, n + 20))[0] for n in (0, 20, 40)]
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
