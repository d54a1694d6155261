"""Posts and /stats while a cycle trains on the same cores, against the same load without one.

Nothing here is asserted about times: a busy machine decides as much as the code.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.benchmarks.load import Load, request_bytes, run_load
from tests.benchmarks.prepared import always, prepared_posts
from tests.support import StartDaemon, make_exchange

pytestmark = pytest.mark.timeout(600)

SECONDS = 25.0
POSTS_PER_SECOND = 20.0
STATS_PER_SECOND = 10.0
EXPERIENCES = 24


def steady_load(port: int, first_number: int) -> tuple[Load, Load]:
    """Posts and /stats side by side, as a few live sessions and an operator's page send them."""
    stats = request_bytes("GET", "/stats")
    with ThreadPoolExecutor(2) as pool:
        posts = pool.submit(
            run_load,
            port,
            prepared_posts(first_number, round(2 * SECONDS * POSTS_PER_SECOND)),
            connections=2,
            seconds=SECONDS,
            requests_per_second=POSTS_PER_SECOND,
        )
        looks = pool.submit(
            run_load,
            port,
            always(stats),
            connections=2,
            seconds=SECONDS,
            requests_per_second=STATS_PER_SECOND,
        )
        return posts.result(), looks.result()


def test_load_beside_a_cycle(start_daemon: StartDaemon, embedded_model: Path) -> None:
    daemon = start_daemon(base_model=embedded_model, mass_threshold=1e9, child_niceness=10)
    port = daemon.http.base_url.port
    assert port is not None
    exchanges = [make_exchange(number) for number in range(EXPERIENCES)]
    daemon.http.post("/v1/experiences/batch", json=exchanges)
    alone = steady_load(port, 0)
    asked = {"force": True, "overrides": {"max_experiences": EXPERIENCES, "epochs": 2}}
    started = time.perf_counter()
    cycle_id = daemon.http.post("/v1/sleep-cycles", json=asked).json()["id"]
    beside = steady_load(port, 100_000)
    was_over = daemon.http.get(f"/v1/sleep-cycles/{cycle_id}").json()["finished_at"] is not None
    cycle = daemon.wait_for_cycle(cycle_id)
    seconds = time.perf_counter() - started
    print(
        f"\n  the cycle {cycle['status']} after {seconds:.0f} s; the load ran for {SECONDS:.0f} s"
    )
    for name, target, (before, during) in zip(
        ("posts", "/stats"), (50, 100), zip(alone, beside, strict=True), strict=True
    ):
        print(
            f"  {name:6} no cycle     {before}\n  {name:6} while it runs {during}  "
            f"p99 {during.p99_ms / before.p99_ms:.1f} times (p99 target {target} ms)"
        )
        assert before.failures == during.failures == 0
    assert cycle["status"] in {"succeeded", "rejected"}
    assert not was_over, "the cycle ended before the load did: train on more"
