"""Commands that say which base an instance has, beside a running daemon."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support import RunningDaemon, run_command


def test_base_of_an_instance_is_shown_and_named(daemon: RunningDaemon, tmp_path: Path) -> None:
    environment = {
        "SAGE_DATA_DIR": str(daemon.data_dir),
        "SAGE_PORT": str(daemon.http.base_url.port),
        "SAGE_MODEL_TABLE": json.dumps({"mine:3b": str(tmp_path / "mine")}),
        "COLUMNS": "160",
    }
    daemon.http.put(
        "/v1/instances/legion-other",
        json={"model_name": "other:3b", "policy": {"mass_threshold": 3.0}},
    )
    shown = run_command("instances", environment=environment)
    assert "sage-sleep model use legion-other BASE" in shown.stderr

    rows = json.loads(run_command("model", "table", "--json", environment=environment).stdout)
    own = [row for row in rows if row["own"]]
    assert own == [
        {"name": "mine:3b", "base_model": str(tmp_path / "mine"), "own": True, "here": False}
    ]
    assert any(row["name"] == "phi4:14b" for row in rows)

    use = ("model", "use", "legion-other")
    wrong = run_command(*use, "nonsense", environment=environment, check=False)
    assert (wrong.returncode, "sage-sleep model table" in wrong.stderr) == (1, True)
    empty = run_command(*use, str(tmp_path), environment=environment, check=False)
    assert "config.json" in empty.stderr
    run_command(*use, "phi4:14b", environment=environment)
    after = daemon.http.get("/v1/instances/legion-other").json()
    assert (after["base_model"], after["policy"]["mass_threshold"]) == ("microsoft/phi-4", 3.0)
