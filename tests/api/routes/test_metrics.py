"""/metrics: what came in, what cycles came to, and that a bound token sees its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.db.engine import Database
from app.services.instances import put_instance
from tests.publishing import NOW, publish
from tests.support import RunningDaemon, StartDaemon, make_exchange, run_command


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name.removeprefix("sage_sleep_"), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def one(text: str, name: str, **labels: str) -> float:
    return samples(text)[name, frozenset(labels.items())]


def test_posts_are_counted_by_result_and_timed(start_daemon: StartDaemon, tmp_path: Path) -> None:
    http = start_daemon(base_model=tmp_path / "none", scheduler_interval_seconds=3600).http
    http.post("/v1/experiences", json=make_exchange(1))
    http.post("/v1/experiences", json=make_exchange(1))
    http.post("/v1/experiences", json={"prompt": "no response"})
    http.post("/v1/experiences/batch", json=[make_exchange(2), make_exchange(1), {"prompt": 7}])
    text = http.get("/metrics").text
    assert one(text, "ingest_total", result="inserted") == 2
    assert one(text, "ingest_total", result="duplicate") == 2
    assert one(text, "ingest_total", result="rejected") == 2
    assert one(text, "ingest_seconds_count", route="single") == 3
    assert one(text, "ingest_seconds_count", route="batch") == 1
    assert 0 < one(text, "ingest_seconds_sum", route="single") < 30


def test_cycles_tell_what_they_came_to(
    db: Database,
    data_dir: Path,
    daemon: RunningDaemon,
) -> None:
    publish(db, data_dir / "checkpoints", range(20))
    text = daemon.http.get("/metrics").text
    assert one(text, "cycles_total", instance="default", outcome="failed") == 0
    assert one(text, "held_out_loss", instance="default", when="after") == 2.5
    assert one(text, "gate_value", instance="default", check="held_out_loss") == 2.5
    assert one(text, "gate_limit", instance="default", check="held_out_loss") > 3
    assert one(text, "tokens_per_second", instance="default") > 0
    assert one(text, "peak_memory_bytes", instance="default") > 0
    assert one(text, "seconds_since_last_success", instance="default") > 0
    assert one(text, "worker_up") == 1
    assert one(text, "data_free_bytes") > 0
    daemon.http.post("/v1/experiences/batch", json=[make_exchange(n) for n in range(50, 70)])
    cycle = daemon.http.post("/v1/sleep-cycles", json={"force": True}).json()
    daemon.wait_for_cycle(cycle["id"])
    text = daemon.http.get("/metrics").text
    assert one(text, "cycles_total", instance="default", outcome="failed") == 1
    assert one(text, "cycle_active", instance="default") == 0


@pytest.mark.daemon(require_tokens="true")
def test_bound_token_reads_its_own_instances_and_no_totals(
    daemon: RunningDaemon, db: Database, data_dir: Path
) -> None:
    environment = {"SAGE_DATA_DIR": str(data_dir)}
    put_instance(db, "own", {}, now=NOW)
    made = run_command(
        "tokens", "create", "p", "--scope", "read", "-i", "own", "--json", environment=environment
    )
    http = daemon.http
    token = json.loads(made.stdout)["token"]
    text = http.get("/metrics", headers={"Authorization": f"Bearer {token}"}).text
    assert "default" not in text
    assert "sage_sleep_ingest" not in text
    assert "sage_sleep_worker_up 1.0" in text
