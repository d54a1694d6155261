"""The dashboard and the alert rules in docker/ stand on metrics that the daemon has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from app.db.engine import Database
from tests.publishing import publish
from tests.support import RunningDaemon

DOCKER = Path(__file__).parent.parent / "docker"
DASHBOARD = DOCKER / "grafana" / "dashboard.json"
ALERTS = DOCKER / "prometheus" / "alerts.yaml"
METRIC = re.compile(r"\bsage_sleep_\w+")


def walk(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in walk(item)]
    if isinstance(value, list):
        return [text for item in value for text in walk(item)]
    return [value] if isinstance(value, str) else []


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture
def exposed(
    db: Database,
    data_dir: Path,
    daemon: RunningDaemon,
) -> dict[str, set[str]]:
    """Names that a daemon with a checkpoint answers, those of empty families too; and labels."""
    publish(db, data_dir / "checkpoints", range(20))
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(daemon.http.get("/metrics").text):
        found.setdefault(family.name, set())
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_every_metric_they_name_is_one_that_the_daemon_has(exposed: dict[str, set[str]]) -> None:
    named = set(METRIC.findall("\n".join(walk(json.loads(DASHBOARD.read_text())))))
    named |= {name for rule in rules() for name in METRIC.findall(rule["expr"])}
    assert len(named) > 20
    assert named <= exposed.keys(), named - exposed.keys()


def test_every_metric_of_the_daemon_is_shown(exposed: dict[str, set[str]]) -> None:
    named = set(METRIC.findall(DASHBOARD.read_text() + ALERTS.read_text()))
    of_the_process = {"sage_sleep_daemon", "sage_sleep_daemon_info", "sage_sleep_uptime_seconds"}
    families = {re.sub(r"_(total|bucket|sum|count|created)$", "", name) for name in exposed}
    shown = {re.sub(r"_(total|bucket|sum|count|created)$", "", name) for name in named}
    assert families - of_the_process <= shown


def test_every_label_they_choose_by_exists(exposed: dict[str, set[str]]) -> None:
    texts = [*walk(json.loads(DASHBOARD.read_text())), *(rule["expr"] for rule in rules())]
    for text in texts:
        for name, matchers in re.findall(r"\b(sage_sleep_\w+)\{([^}]*)\}", text):
            chosen = set(re.findall(r"(\w+)\s*=~?", matchers))
            assert not exposed[name] or chosen <= exposed[name], text


def test_every_alert_says_what_is_wrong_and_what_to_do() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names)) >= 8
    for rule in rules():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}


def test_panels_lie_beside_each_other_and_say_what_they_show() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        own = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not own & cells, panel["title"]
        assert place["x"] + place["w"] <= 24
        cells |= own
        assert panel["title"]
        assert panel["targets"]


def test_what_compose_mounts_is_there() -> None:
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    observing = {
        name: service
        for name, service in services.items()
        if "observability" in service["profiles"]
    }
    assert set(observing) == {"prometheus", "grafana"}
    for service in observing.values():
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            assert not source.startswith(".") or (DOCKER / source).exists(), source
    config = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yaml").read_text())
    assert (DOCKER / "prometheus" / config["rule_files"][0]).is_file()
    assert config["scrape_configs"][0]["honor_labels"]
    for file in (DOCKER / "grafana" / "provisioning").rglob("*.yaml"):
        assert yaml.safe_load(file.read_text())["apiVersion"] == 1
