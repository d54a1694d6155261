"""Cycles as figures over time."""

from __future__ import annotations

from pathlib import Path

from app.db.engine import Database
from app.domain.instance import InstanceDefaults
from tests.publishing import publish
from tests.support import StartDaemon


def test_figures_come_newest_first_in_pages_and_say_what_failed(
    start_daemon: StartDaemon, db: Database, defaults: InstanceDefaults, data_dir: Path
) -> None:
    accepted, _ = publish(db, defaults, data_dir / "checkpoints", range(40))
    publish(db, defaults, data_dir / "checkpoints", range(40, 80), after=3.5)
    http = start_daemon(scheduler_interval_seconds=3600).http
    page = http.get("/v1/instances/default/cycle-figures?limit=1").json()
    (refused,) = page["data"]
    assert (refused["number"], refused["status"], refused["verdict"]) == (2, "rejected", "refused")
    assert refused["failed_checks"]
    second = http.get(f"/v1/instances/default/cycle-figures?limit=1&cursor={page['next']}").json()
    (good,) = second["data"]
    assert (good["checkpoint_id"], good["failed_checks"]) == (accepted, [])
    assert not second["has_more"]
    learned = {item["name"]: item for item in good["learned"]}
    assert (learned["held_out_loss"]["before"], learned["held_out_loss"]["after"]) == (3.0, 2.5)
    assert {"general_kl", "repeated_ngrams"} <= {item["name"] for item in good["kept"]}
    assert good["trained"] > 10
    assert http.get("/v1/instances/none/cycle-figures").status_code == 404
