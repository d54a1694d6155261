"""Ingest over HTTP, durable, against an empty FastAPI route measured beside it; and its layers."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.api.guards.admission import Admission
from app.api.guards.rate_limit import RateLimit
from app.api.ingest_meter import IngestMeter
from app.clock import new_id, utc_now
from app.db.engine import Database
from app.domain.exchange import Exchange
from app.domain.salience import COMPONENTS
from app.main import create_app
from app.services.ingest import IngestOutcome, IngestResult, Submission, ingest_many
from app.settings import Settings
from tests.benchmarks.load import Load, request_bytes, run_load
from tests.support import StartDaemon, free_port

pytestmark = pytest.mark.timeout(900)

ROUNDS = 3
SECONDS = 5.0
CONNECTIONS = 16
BATCH = 500
MAX_POSTS = 40_000
MAX_BATCHES = 80
ROOTS = ("we", "notice", "feel", "window", "bench", "light", "river", "stone", "question", "rather")
WORDS = [f"{root}{ending}" for root in ROOTS for ending in ("", "s", "ing", "ed")]


@pytest.fixture
def empty_route() -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "tests.benchmarks.empty_app", str(port)]
    with subprocess.Popen(command) as process:
        for _ in range(200):
            try:
                httpx.post(f"http://127.0.0.1:{port}/empty")
                break
            except httpx.TransportError:
                time.sleep(0.05)
        yield port
        process.terminate()


def exchange(number: int) -> dict[str, str]:
    """About a hundred words, as real replies have, and no two alike."""
    words = random.Random(number).choices(WORDS, k=100)  # noqa: S311  # no secret
    text = " ".join(f"{word}{number % 977}" if i % 9 == 0 else word for i, word in enumerate(words))
    return {"prompt": f"Question {number}?", "response": f"{text} {number}."}


def posts(start: int, count: int) -> list[bytes]:
    """Requests, made before the clock runs."""
    return [
        request_bytes("POST", "/v1/experiences", json.dumps(exchange(n)).encode())
        for n in range(start, start + count)
    ]


def batches(start: int, count: int) -> list[bytes]:
    return [
        request_bytes(
            "POST",
            "/v1/experiences/batch",
            json.dumps([exchange(n) for n in range(first, first + BATCH)]).encode(),
        )
        for first in range(start, start + count * BATCH, BATCH)
    ]


@pytest.mark.parametrize("group", [1, 16, 500])
def test_groups_in_process(db: Database, group: int) -> None:
    submissions = [Submission(exchange=Exchange(**exchange(n))) for n in range(4000)]
    ingest_many(db, submissions[:500], now=utc_now())
    used = time.process_time()
    started = time.perf_counter()
    for start in range(500, len(submissions), group):
        group_of = submissions[start : start + group]
        ingest_many(db, group_of, now=utc_now())
    count = len(submissions) - 500
    rate = count / (time.perf_counter() - started)
    cpu_us = 1e6 * (time.process_time() - used) / count
    print(f"\n  groups of {group:3}: {rate:.0f} exchanges/s, {cpu_us:.0f} us of CPU each")


def test_the_way_through_the_application(tmp_path: Path) -> None:
    """What HTTP costs above the socket, without storing."""
    app = create_app(Settings(data_dir=tmp_path))
    stored = IngestResult(
        outcome=IngestOutcome.INSERTED,
        experience=dict.fromkeys(("total", *COMPONENTS), 0.5)
        | {"id": new_id(), "status": "buffered", "reason": None, "scorer": "snarc-1"}
        | {"similarity": 0.1, "is_truncated": 0},
    )

    async def submit(_: Submission) -> IngestResult:
        return stored

    admission = Admission(
        Database("sqlite://", Settings().instance_defaults()), is_demanded=False, rates=RateLimit(0)
    )
    app.state.daemon = SimpleNamespace(
        submit=submit, admission=admission, ingest_meter=IngestMeter()
    )
    body = json.dumps(exchange(1)).encode()
    taken = min(asyncio.run(_time_posts(app, body)) for _ in range(40))
    print(f"\n  {1e6 * taken:.0f} us a post without socket and storage")


async def _time_posts(app: FastAPI, body: bytes) -> float:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        assert message.get("status", 201) == 201

    started = time.perf_counter()
    for _ in range(50):
        scope: dict[str, Any] = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http",
            "method": "POST", "path": "/v1/experiences", "raw_path": b"/v1/experiences",
            "root_path": "", "query_string": b"", "state": {},
            "headers": [
                (b"host", b"localhost"), (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(body)),
            ],
            "server": ("127.0.0.1", 1), "client": ("127.0.0.1", 2),
        }  # fmt: skip
        await app(scope, receive, send)
    return (time.perf_counter() - started) / 50


def test_single_posts(start_daemon: StartDaemon, empty_route: int) -> None:
    port = start_daemon().http.base_url.port
    assert port is not None
    empty = request_bytes("POST", "/empty", b"{}")
    ratios: list[float] = []
    ours: list[Load] = []
    for round_number in range(ROUNDS):
        requests = posts(round_number * MAX_POSTS, MAX_POSTS)
        baseline = run_load(empty_route, lambda _: empty, connections=CONNECTIONS, seconds=SECONDS)
        load = run_load(port, requests.__getitem__, connections=CONNECTIONS, seconds=SECONDS)
        ratios.append(load.rate / baseline.rate)
        ours.append(load)
        print(f"\n  empty route   {baseline}\n  single posts  {load}  ratio {ratios[-1]:.2f}")
        assert load.failures == 0
    p99 = sorted(load.p99_ms for load in ours)[ROUNDS // 2]
    print(
        f"  median ratio {sorted(ratios)[ROUNDS // 2]:.2f} (target 0.50), "
        f"median p99 {p99:.1f} ms (target 15)"
    )


def test_batches(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(scheduler_interval_seconds=3600)
    port = daemon.http.base_url.port
    assert port is not None
    sent = 0
    for connections in (1, 4) * ROUNDS:
        requests = batches(sent, MAX_BATCHES)
        load = run_load(port, requests.__getitem__, connections=connections, seconds=SECONDS / 2)
        sent += MAX_BATCHES * BATCH
        assert load.failures == 0
        print(
            f"\n  batches of {BATCH}, {connections} connections: "
            f"{load.rate * BATCH:.0f} exchanges/s (target 10,000), p99 {load.p99_ms:.0f} ms"
        )
    stats = daemon.http.get("/stats").json()
    assert sum(stats["instances"][0]["counts"].values()) % BATCH == 0
