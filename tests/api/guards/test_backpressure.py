"""A database that does not take writes: callers are told to come back, and the rest goes on."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from app.db.engine import Database
from app.errors import DatabaseUnavailable
from tests.patience import pace, seconds_left
from tests.support import RunningDaemon, StartDaemon, make_exchange

QUEUED = 50
GROUP = 256


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Another process holds the database's write lock."""
    other = sqlite3.connect(data_dir / "sage-sleep.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def address(daemon: RunningDaemon) -> str:
    return str(daemon.http.base_url)


def memory_mb(daemon: RunningDaemon) -> float:
    return float(psutil.Process(daemon.process.pid).memory_info().rss) / 2**20


async def first_answers(asked: Sequence[asyncio.Task[httpx.Response]], count: int) -> None:
    """Wait until so many of them are answered."""
    for _, answered in zip(range(count), asyncio.as_completed(asked), strict=False):
        await answered


def test_past_the_limit_posts_are_refused_at_once_and_what_waited_is_stored(
    start_daemon: StartDaemon, data_dir: Path
) -> None:
    daemon = start_daemon(max_queued_exchanges=QUEUED, scheduler_interval_seconds=3600)
    count = QUEUED + GROUP + 150
    at_once = list[float]()

    async def post(client: httpx.AsyncClient, number: int) -> httpx.Response:
        started = time.monotonic()
        answer = await client.post("/v1/experiences", json=make_exchange(number))
        if answer.status_code == 503:
            at_once.append(time.monotonic() - started)
        return answer

    async def run() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=count)
        async with httpx.AsyncClient(
            base_url=address(daemon), timeout=seconds_left(), limits=limits
        ) as client:
            with locked(data_dir):
                first = asyncio.ensure_future(post(client, 0))  # the writer takes it, and waits
                await asyncio.sleep(0.5 * pace())
                rest = [asyncio.ensure_future(post(client, n)) for n in range(1, count)]
                await first_answers(rest, count - 1 - QUEUED)
                for path in ("/healthz", "/stats", "/v1/experiences"):
                    started = time.monotonic()
                    assert (await client.get(path)).status_code == 200
                    assert time.monotonic() - started < 2 * pace()
            return await asyncio.gather(first, *rest)

    answers = asyncio.run(run())
    refused = [answer for answer in answers if answer.status_code == 503]
    stored = [answer for answer in answers if answer.status_code == 201]
    assert len(stored) == QUEUED + 1
    assert len(refused) == count - len(stored)
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}
    assert {answer.json()["type"].rpartition(":")[2] for answer in refused} == {"ingest-overloaded"}
    assert max(at_once) < 8 * pace()
    counts = daemon.http.get("/stats").json()["instances"][0]["counts"]
    assert sum(counts.values()) == len(stored)


def test_other_changes_are_bounded_and_leave_threads_for_reading(
    daemon: RunningDaemon, data_dir: Path
) -> None:

    async def run() -> list[int]:
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(
            base_url=address(daemon), timeout=seconds_left(), limits=limits
        ) as client:
            with locked(data_dir):
                batches = [
                    client.post("/v1/experiences/batch", json=[make_exchange(n)]) for n in range(30)
                ]
                others = [client.put(f"/v1/instances/i{n}", json={}) for n in range(30)]
                waiting = [asyncio.ensure_future(item) for item in (*batches, *others)]
                await first_answers(waiting, 60 - 24)
                started = time.monotonic()
                assert (await client.get("/stats")).status_code == 200
                assert time.monotonic() - started < 2 * pace()
                told = [task.result() for task in waiting if task.done()]
                assert len(told) == 60 - 24
                for answer in told:
                    assert answer.json()["type"].endswith("writes-overloaded")
                    assert answer.headers["retry-after"] == "1"
            return [(await task).status_code for task in waiting]

    counted = Counter(asyncio.run(run()))
    assert counted[503] == 36
    assert counted[200] + counted[201] == 24


def test_what_waits_is_bounded_in_bytes_too(start_daemon: StartDaemon, data_dir: Path) -> None:
    daemon = start_daemon(
        max_body_bytes=2_000_000, max_held_bytes=2_000_000, scheduler_interval_seconds=3600
    )
    large = {"prompt": "p" * 60_000, "response": "r " * 30_000, "system_prompt": "s" * 60_000}

    async def run() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(
            base_url=address(daemon), timeout=seconds_left(), limits=limits
        ) as client:
            with locked(data_dir):
                waiting = [
                    asyncio.ensure_future(
                        client.post("/v1/experiences", json=large | {"source_id": str(number)})
                    )
                    for number in range(150)
                ]
                await first_answers(waiting, 150 - 11)
            return await asyncio.gather(*waiting)

    before = memory_mb(daemon)
    answers = asyncio.run(run())
    refused = [answer for answer in answers if answer.status_code == 503]
    assert len(refused) >= 150 - 11
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}
    assert memory_mb(daemon) - before < 60
    assert daemon.http.post("/v1/experiences", json=make_exchange(1)).status_code == 201


def test_who_waits_too_long_for_the_writer_is_told(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.db.engine.BUSY_TIMEOUT_SECONDS", 0.1)
    with db.write():
        started = time.monotonic()
        result = asyncio.run(asyncio.to_thread(write_once, db))
        assert time.monotonic() - started < 5 * pace()
    assert isinstance(result, DatabaseUnavailable)
    assert write_once(db) is None


def write_once(db: Database) -> DatabaseUnavailable | None:
    try:
        with db.write():
            return None
    except DatabaseUnavailable as error:
        return error
