"""/v1/instances: settings, policy, and what cannot be set."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.db.engine import Database
from app.db.events import append_event
from app.db.instances import get_instance
from app.domain.events import EventType
from app.domain.progress import Progress, Stage
from tests.publishing import NOW, publish
from tests.support import RunningDaemon


def test_put_creates_and_replaces(daemon: RunningDaemon) -> None:
    path = "/v1/instances/sprout-qwen2.5-0.5b"
    body = {"policy": {"mass_threshold": 5.0, "quiet_hours": "22:00-07:00"}, "recipe": {"r": 8}}
    created = daemon.http.put(path, json=body)
    assert created.status_code == 201
    assert created.json()["policy"]["mass_threshold"] == 5.0
    assert created.json()["policy"]["quiet_hours"] == "22:00-07:00"
    assert created.json()["recipe"]["r"] == 8
    assert created.json()["policy"]["min_experiences"] == 10
    manual = daemon.http.put(path, json={"policy": {"promotion": "manual"}}).json()
    assert manual["policy"]["promotion"] == "manual"
    rules = daemon.http.get(f"{path}/sleep-decision").json()["reasons"]
    assert rules[-1] == {"rule": "candidate", "met": True, "text": "no candidate"}
    replaced = daemon.http.put(path, json={"system_prompt": "You are Sprout."})
    assert replaced.status_code == 200
    assert replaced.json()["policy"]["mass_threshold"] == 20.0
    assert daemon.http.get(path).json() == replaced.json()
    slugs = [item["instance"] for item in daemon.http.get("/v1/instances").json()["data"]]
    assert slugs == ["default", "sprout-qwen2.5-0.5b"]


def test_preset_of_an_instance_and_of_one_cycle(daemon: RunningDaemon) -> None:
    http = daemon.http
    recipe = {"preset": "gentle", "epochs": 3}
    shown = http.put("/v1/instances/default", json={"recipe": recipe}).json()
    assert shown["overrides"]["recipe"] == recipe
    assert (shown["recipe"]["r"], shown["recipe"]["epochs"]) == (4, 3)
    assert "preset" not in shown["recipe"]

    def planned(**overrides: object) -> dict[str, object]:
        body = {"dry_run": True, "overrides": overrides}
        found: dict[str, object] = http.post("/v1/sleep-cycles", json=body).json()["plan"]["recipe"]
        return found

    assert (planned()["r"], planned()["epochs"], planned()["learning_rate"]) == (4, 3, 1e-5)
    standard = planned(preset="standard", learning_rate=1e-4)
    assert (standard["r"], standard["learning_rate"], standard["epochs"]) == (16, 1e-4, 2)
    http.put("/v1/instances/default", json={})
    assert (planned()["r"], planned(preset="gentle", r=8)["r"]) == (16, 8)
    assert [planned(preset="recall", **few)["dreams"] for few in ({}, {"dreams": 3})] == [12, 3]
    unknown = http.post("/v1/sleep-cycles", json={"overrides": {"preset": "rough"}})
    assert unknown.json()["errors"][0]["pointer"] == "/overrides/preset"


@pytest.mark.parametrize(
    ("slug", "body", "where"),
    [
        ("ok", {"base_model": "/etc/passwd"}, "/base_model"),
        ("ok", {"base_model": "../up"}, "/base_model"),
        ("ok", {"policy": {"quiet_hours": "late"}}, "/policy/quiet_hours"),
        ("ok", {"policy": {"min_salience": 2}}, "/policy/min_salience"),
        ("ok", {"policy": {"promotion": "never"}}, "/policy/promotion"),
        ("ok", {"policy": {"near_duplicate_jaccard": 0.4}}, "/policy/near_duplicate_jaccard"),
        ("ok", {"policy": {"category_floors": {"x": 0.1}}}, "/policy/category_floors/x"),
        (
            "ok",
            {"policy": {"category_floors": {"identity": 2}}},
            "/policy/category_floors/identity",
        ),
        (
            "ok",
            {"policy": {"categories": {"identity": ["me", "!"]}}},
            "/policy/categories/identity/1",
        ),
        ("ok", {"timezone": "Mars/Base"}, "/timezone"),
        ("ok", {"recipe": {"lr": 1}}, "/recipe/lr"),
        ("ok", {"recipe": {"preset": "rough"}}, "/recipe/preset"),
        ("UPPER", {}, "slug"),
        ("..", {}, None),
    ],
)
def test_bad_settings_are_refused(
    daemon: RunningDaemon, slug: str, body: dict[str, object], where: str | None
) -> None:
    response = daemon.http.put(f"/v1/instances/{slug}", json=body)
    assert response.status_code in {404, 405, 422}
    if where is not None:
        found = response.json()["errors"][0]
        assert where in {found.get("pointer"), found.get("parameter")}
    assert len(daemon.http.get("/v1/instances").json()["data"]) == 1


def test_young_instance_has_no_aliases_and_nothing_to_roll_back(daemon: RunningDaemon) -> None:
    aliases = daemon.http.get("/v1/instances/default/aliases")
    assert aliases.headers["etag"] == '"0"'
    assert aliases.json()["current"] is None
    dismissal = daemon.http.post("/v1/instances/default/dismiss", json={"reason": "none there"})
    assert dismissal.json()["type"].endswith("no-candidate")
    rollback = daemon.http.post("/v1/instances/default/rollback")
    assert rollback.status_code == 409
    assert rollback.json()["type"].endswith("no-previous-checkpoint")
    assert daemon.http.get("/v1/instances/nobody/aliases").status_code == 404


def test_events_are_listed_from_the_newest_back_and_without_progress(
    daemon: RunningDaemon, db: Database, data_dir: Path
) -> None:
    publish(db, data_dir / "checkpoints", range(40))
    with db.write() as session:
        instance_id = get_instance(session, "default").id
        append_event(
            session,
            type_=EventType.CYCLE_PROGRESS,
            instance_id=instance_id,
            now=NOW,
            facts=Progress(stage=Stage.TRAINING),
        )
    http = daemon.http
    path = "/v1/instances/default/events"
    ids = [event["id"] for event in http.get(path).json()["data"]]
    page = http.get(f"{path}?order=newest&limit=2").json()
    assert [event["id"] for event in page["data"]] == ids[:-3:-1]
    rest = http.get(f"{path}?order=newest&after={page['next']}").json()
    assert [event["id"] for event in rest["data"]] == ids[-3::-1]
    assert not rest["has_more"]
    quiet = http.get(f"{path}?progress=false").json()["data"]
    assert [event["id"] for event in quiet] == ids[:-1]


def test_figures_come_newest_first_in_pages_and_say_what_failed(
    daemon: RunningDaemon, db: Database, data_dir: Path
) -> None:
    accepted, _ = publish(db, data_dir / "checkpoints", range(40))
    publish(db, data_dir / "checkpoints", range(40, 80), after=3.5)
    http = daemon.http
    page = http.get("/v1/instances/default/cycle-figures?limit=1").json()
    (refused,) = page["data"]
    assert (refused["number"], refused["status"], refused["verdict"]) == (2, "rejected", "rejected")
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
