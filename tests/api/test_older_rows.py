"""A row of every shape that was ever stored is read by services, over HTTP and on the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from app.db.engine import Database
from app.domain.decision import Trigger
from app.services import cycles, registry, sleep
from app.services.figures import FigureReader
from tests.api.test_document import closed, document
from tests.domain.test_stored import SHAPES, holds, read, without_variations
from tests.publishing import NOW, publish
from tests.support import RunningDaemon, StartDaemon

__all__ = ["document"]

COLUMNS = ("decision", "plan", "progress", "metrics", "verdict", "error")


Ids = tuple[str, str]


def put_back(db: Database, root: Path, shape: dict[str, Any], number: int = 0) -> Ids:
    """A cycle and its checkpoint as they were stored then, and every event of the time."""
    checkpoint_id, _ = publish(db, root, range(20 * number, 20 * number + 20))
    cycle_id = registry.get_checkpoint(db, checkpoint_id).row.cycle_id
    # What an alias leads to must not go on from a checkpoint that is not there.
    stored = {**shape, "plan": {**shape["plan"], "parent_checkpoint_id": None}}
    with db.write() as session:
        for table, key, columns in (
            ("sleep_cycles", "id", COLUMNS),
            ("checkpoints", "cycle_id", ("metrics", "verdict")),
        ):
            plain = sa.table(table, sa.column(key), *(sa.column(name, sa.JSON) for name in columns))
            session.execute(
                sa.update(plain)
                .where(plain.c[key] == cycle_id)
                .values({name: stored[name] for name in columns})
            )
        for type_, data in shape["events"]:
            session.execute(
                sa.text(
                    "INSERT INTO events (instance_id, cycle_id, type, data, at) "
                    "SELECT instance_id, id, :type, :data, created_at FROM sleep_cycles "
                    "WHERE id = :cycle"
                ).bindparams(sa.bindparam("data", type_=sa.JSON)),
                {"type": type_, "data": data, "cycle": cycle_id},
            )
    return cycle_id, checkpoint_id


@pytest.mark.parametrize("path", SHAPES, ids=lambda path: path.stem)
def test_services_read_the_row(db: Database, tmp_path: Path, path: Path) -> None:
    shape = read(path)
    cycle_id, checkpoint_id = put_back(db, tmp_path, shape)
    cycle, _, _ = cycles.get_cycle(db, cycle_id)
    assert cycle.plan.experience_ids == tuple(shape["plan"]["experience_ids"])
    report = cycles.get_report(db, cycle_id)
    assert report.learned[0].after == 2.5
    assert bool(report.kept) == ("evaluation" in shape["metrics"])
    assert registry.get_checkpoint(db, checkpoint_id).row.verdict == cycle.verdict
    preview = sleep.preview_cycle(
        db,
        sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True),
        now=NOW,
    )
    assert preview.plan.recipe.r == shape["plan"]["recipe"]["r"]
    (figures,) = FigureReader(db).read()
    assert figures.last_cycle is not None
    assert figures.last_cycle.held_out_after == 2.5


def test_http_and_the_page_show_every_row(
    start_daemon: StartDaemon, db: Database, data_dir: Path, document: dict[str, Any]
) -> None:
    rows = {
        path: put_back(db, data_dir / "checkpoints", read(path), number)
        for number, path in enumerate(SHAPES)
    }
    daemon = start_daemon(base_model="owner/hub-id", scheduler_interval_seconds=3600)
    for path, ids in rows.items():
        expect_shown(daemon, document, read(path), ids)
    for template, value in (
        ("/v1/instances/{slug}/cycle-figures", "default"),
        ("/v1/instances/{slug}/events", "default"),
        ("/v1/sleep-cycles", ""),
        ("/v1/checkpoints", ""),
        ("/stats", ""),
    ):
        get(daemon, document, template, value)
    assert "sage_sleep_held_out_loss" in daemon.http.get("/metrics").text


def expect_shown(
    daemon: RunningDaemon, document: dict[str, Any], shape: dict[str, Any], ids: Ids
) -> None:
    cycle_id, checkpoint_id = ids
    without_variations(shape)
    cycle = get(daemon, document, "/v1/sleep-cycles/{cycle_id}", cycle_id)
    assert holds(cycle["plan"], {**shape["plan"], "parent_checkpoint_id": None})
    for column in COLUMNS[2:]:
        assert holds(cycle[column], shape[column]), column
    checkpoint = get(daemon, document, "/v1/checkpoints/{checkpoint_id}", checkpoint_id)
    assert holds(checkpoint["metrics"], shape["metrics"])
    report = get(daemon, document, "/v1/sleep-cycles/{cycle_id}/report", cycle_id)
    names = [check["name"] for check in shape["verdict"]["checks"]]
    assert [check["name"] for check in report["checks"]] == names
    events = get(daemon, document, "/v1/sleep-cycles/{cycle_id}/events", cycle_id)["data"]
    told = [[event["type"], event["data"]] for event in events]
    assert holds(told[-len(shape["events"]) :], shape["events"])
    page = daemon.http.get(f"/v1/sleep-cycles/{cycle_id}/report", params={"format": "html"}).text
    assert all(name.replace("_", " ") in page for name in names)


def get(daemon: RunningDaemon, document: dict[str, Any], path: str, value: str) -> dict[str, Any]:
    """An answer, which its schema allows."""
    parts = [value if part.startswith("{") else part for part in path.split("/")]
    response = daemon.http.get("/".join(parts))
    assert response.status_code == 200, response.text
    content = document["paths"][path]["get"]["responses"]["200"]["content"]
    closed(document, content["application/json"]["schema"]).validate(response.json())
    found: dict[str, Any] = response.json()
    return found
