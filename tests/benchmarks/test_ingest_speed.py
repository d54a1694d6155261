"""Ingest over HTTP, durable, against an empty FastAPI route measured beside it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest

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
