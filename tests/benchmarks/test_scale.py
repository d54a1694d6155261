"""A million experiences: selecting a cycle, /stats and ingest, against a database of a few.

The million is made of real rows: a few thousand exchanges are ingested by the service, and every
further row is one of those with a text, a content hash, an id and a salience of its own, put in by
`executemany` on the migrated schema, its indexes and triggers at work. Only durability is off while
the file is made. Nine rows in ten are the instance `default`'s. The others are `alike`: one
salience for all and nothing held out, which is the worst that a selection can meet.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from app.clock import new_id, utc_now
from app.db.engine import Database
from app.domain.decision import Trigger
from app.domain.exchange import Exchange
from app.domain.experience import ExperienceStatus, content_hash, is_held_out
from app.services import sleep
from app.services.ingest import Submission, ingest_many
from app.settings import Settings
from tests.benchmarks.load import Load, request_bytes, run_load
from tests.benchmarks.prepared import always, prepared_posts
from tests.benchmarks.test_ingest_speed import CONNECTIONS, exchange
from tests.support import StartDaemon

pytestmark = pytest.mark.timeout(900)

ROWS = 1_000_000
SEED_ROWS = 4000
ALIKE = 2
"""Id of the second instance; `default` is 1."""

ROUNDS = 5
SECONDS = 3.0
MAX_POSTS = 20_000
NEVER = 1e9
"""A mass threshold at which no cycle starts by itself."""


@pytest.fixture(scope="module")
def few(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that holds the seed alone."""
    directory = tmp_path_factory.mktemp("few")
    path = directory / "sage-sleep.db"
    shutil.copy(migrated_file, path)
    database = Database(f"sqlite:///{path}", Settings().instance_defaults())
    for start in range(0, SEED_ROWS, 500):
        texts = [exchange(number) for number in range(start, start + 500)]
        submissions = [Submission(exchange=Exchange(**text)) for text in texts]
        ingest_many(database, submissions, now=utc_now() - timedelta(hours=1))
    database.close()
    return directory


@pytest.fixture(scope="module")
def million(few: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a million experiences."""
    directory = tmp_path_factory.mktemp("million")
    path = directory / "sage-sleep.db"
    with closing(sqlite3.connect(few / "sage-sleep.db")) as source:
        source.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(few / "sage-sleep.db", path)
    started = time.perf_counter()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-1500000"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN")
        connection.execute(
            "INSERT INTO instances (slug, policy, recipe, created_at, updated_at) "
            "SELECT 'alike', policy, recipe, created_at, updated_at FROM instances WHERE id = 1"
        )
        _fill(connection, ROWS - SEED_ROWS)
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode=WAL")
        totals = dict(connection.execute("SELECT status, sum(count) FROM status_totals GROUP BY 1"))
    with path.open("rb") as file:
        os.fsync(file.fileno())  # or the first checkpoint of the daemon pays for the whole file
    size = path.stat().st_size
    print(
        f"\n  {ROWS:,} rows in {time.perf_counter() - started:.0f} s, {size / ROWS:.0f} bytes "
        f"each on disk: {totals}"
    )
    assert sum(totals.values()) == ROWS
    return directory


def _fill(connection: sqlite3.Connection, count: int) -> None:
    cursor = connection.execute("SELECT * FROM experiences ORDER BY seq")
    names = [column[0] for column in cursor.description][1:]
    seeds = [dict(zip(names, row[1:], strict=True)) for row in cursor]
    marks = ", ".join("?" for _ in names)
    connection.executemany(
        f"INSERT INTO experiences ({', '.join(names)}) VALUES ({marks})",  # noqa: S608  # columns
        (tuple(row[name] for name in names) for row in _multiply(seeds, count)),
    )
    chance = random.Random(1)  # noqa: S311  # no secret
    words = sorted(chance.getrandbits(64) - 2**63 for _ in range(count))
    connection.executemany(
        "INSERT OR IGNORE INTO seen_words VALUES (1, ?)", ((word,) for word in words)
    )


def _multiply(seeds: list[dict[str, Any]], count: int) -> Iterator[dict[str, Any]]:
    """Rows like the seeds, each with its own text and salience; the first six tenths are old."""
    chance = random.Random(0)  # noqa: S311  # no secret
    for number in range(count):
        row = dict(seeds[number % len(seeds)])
        row["response"] = f"{row['response']} {number}"
        row["content_sha256"] = content_hash(row["prompt"], row["response"])
        row["id"] = new_id()
        if number % 10 == 9:
            row |= {"instance_id": ALIKE, "total": 0.75, "is_kept_out": False}
        else:
            row["total"] = min(1.0, max(0.0, row["total"] + chance.uniform(-0.2, 0.2)))
            row["is_kept_out"] = is_held_out(row["content_sha256"])
        row["status"] = _status(row, is_old=number < 0.6 * count).value
        yield row


def _status(row: dict[str, Any], *, is_old: bool) -> ExperienceStatus:
    if row["total"] < 0.5:
        return ExperienceStatus.BELOW_THRESHOLD
    if row["is_kept_out"]:
        return ExperienceStatus.HELD_OUT
    return ExperienceStatus.CONSOLIDATED if is_old else ExperienceStatus.BUFFERED


def test_claiming_a_cycle(few: Path, million: Path) -> None:
    """Decision, selection, plan, claim of 256 and commit, as `POST /v1/sleep-cycles` does it."""
    print()
    for name, directory, slug in (
        ("few", few, "default"), ("million", million, "default"), ("alike", million, "alike"),
    ):  # fmt: skip
        settings = Settings(data_dir=directory)
        database = Database(settings.effective_database_url, settings.instance_defaults())
        taken: list[float] = []
        for _ in range(11):
            request = sleep.CycleRequest(instance=slug, trigger=Trigger.REQUEST, is_forced=True)
            started = time.perf_counter()
            cycle = sleep.request_cycle(database, request, now=utc_now())
            taken.append(1000 * (time.perf_counter() - started))
            assert len(cycle.plan.experience_ids) > 200
            sleep.cancel_cycle(database, cycle.id, now=utc_now())
        database.close()
        print(
            f"  select and claim, {name:8} median {median(taken):6.1f} ms  "
            f"worst {max(taken):6.1f} ms  (target 100)"
        )


def test_selection_and_stats_over_http(few: Path, million: Path, start_daemon: StartDaemon) -> None:
    print()
    for name, directory in (("few", few), ("million", million)):
        daemon = start_daemon(data_dir=directory, mass_threshold=NEVER)
        port = daemon.http.base_url.port
        assert port is not None
        slugs = [item["instance"] for item in daemon.http.get("/stats").json()["instances"]]
        requests = {
            f"dry run, {slug}": request_bytes(
                "POST",
                "/v1/sleep-cycles",
                json.dumps({"instance": slug, "dry_run": True}).encode(),
            )
            for slug in slugs
        } | {path: request_bytes("GET", path) for path in ("/stats", "/metrics")}
        for what, request in requests.items():
            load = run_load(port, always(request), connections=1, seconds=SECONDS)
            target = "100" if what.startswith("dry") else "20"
            print(f"  {name:8} {what:16} {load}  (target {target})")
            assert load.failures == 0
        daemon.stop()


def test_ingest_keeps_its_rate(million: Path, start_daemon: StartDaemon) -> None:
    empty = start_daemon(mass_threshold=NEVER)
    full = start_daemon(data_dir=million, mass_threshold=NEVER)
    rates: dict[str, list[float]] = {"empty": [], "million": []}
    sent = 0
    print()
    for _ in range(ROUNDS):
        for name, daemon in (("empty", empty), ("million", full)):
            port = daemon.http.base_url.port
            assert port is not None
            post = prepared_posts(10_000_000 + sent, MAX_POSTS)
            load: Load = run_load(port, post, connections=CONNECTIONS, seconds=SECONDS)
            rates[name].append(load.rate)
            print(f"  single posts, {name:8} {load}")
            assert load.failures == 0
            sent += MAX_POSTS
    ratios = [full / bare for bare, full in zip(rates["empty"], rates["million"], strict=True)]
    print(
        f"  million / empty: median ratio {median(ratios):.2f} of "
        f"{', '.join(f'{ratio:.2f}' for ratio in ratios)} (target 0.90)"
    )
