"""Many listeners cost what one does, and all are told."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import psutil
import pytest

from app.db.engine import Database
from app.domain.decision import Trigger
from app.domain.progress import Progress, Stage
from app.domain.worker_end import WorkerEnd
from app.services import cycle_end, cycle_run, sleep
from tests.patience import pace, seconds_left
from tests.publishing import NOW, fill
from tests.support import RunningDaemon, make_exchange

STREAMS = 100
IDLE_SECONDS = 2.0
PATH = "/v1/instances/default/events"
STREAM = {"Accept": "text/event-stream"}


def cpu_seconds(daemon: RunningDaemon) -> float:
    times = psutil.Process(daemon.process.pid).cpu_times()
    return float(times.user + times.system)


@pytest.mark.daemon(scheduler_interval_seconds=3600)
def test_idle_streams_cost_next_to_nothing_and_all_are_told(daemon: RunningDaemon) -> None:
    daemon.http.post("/v1/experiences/batch", json=[make_exchange(n) for n in range(30)])

    async def listen(client: httpx.AsyncClient, ready: asyncio.Semaphore) -> list[str]:
        types: list[str] = []
        async with client.stream("GET", PATH, headers=STREAM) as response:
            async for line in response.aiter_lines():
                if line.startswith("id:") and not types:
                    ready.release()
                if line.startswith("data: "):
                    types.append(json.loads(line.removeprefix("data: "))["type"])
                    if types[-1] == "sleep_cycle.failed":
                        return types
        return types

    async def run() -> tuple[float, list[list[str]]]:
        limits = httpx.Limits(max_connections=STREAMS + 5)
        async with httpx.AsyncClient(
            base_url=str(daemon.http.base_url), timeout=seconds_left(), limits=limits
        ) as client:
            ready = asyncio.Semaphore(0)
            listening = [asyncio.ensure_future(listen(client, ready)) for _ in range(STREAMS)]
            for _ in range(STREAMS):
                await ready.acquire()
            await asyncio.sleep(0.5)  # their first look at the database is done
            before = cpu_seconds(daemon)
            await asyncio.sleep(IDLE_SECONDS)
            spent = cpu_seconds(daemon) - before
            answer = await client.post("/v1/sleep-cycles", json={"force": True})
            assert answer.status_code == 202
            return spent, await asyncio.gather(*listening)

    spent, told = asyncio.run(run())
    assert spent < 0.25 * pace()  # each looking for itself spent 0.6 s
    assert len(told) == STREAMS
    assert {tuple(types) for types in told} == {tuple(told[0])}
    assert told[0][0] == "sleep_cycle.queued"


@pytest.mark.daemon(scheduler_interval_seconds=3600)
def test_stream_tells_of_progress_that_the_log_does_not_keep(
    daemon: RunningDaemon, db: Database
) -> None:
    fill(db, range(20))
    asked = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
    cycle_id = sleep.request_cycle(db, asked, now=NOW).id
    cycle_run.start_cycle(db, cycle_id, worker_id="w", now=NOW)
    path = f"/v1/sleep-cycles/{cycle_id}/events"

    def write(step: int, *, is_news: bool) -> None:
        told = Progress(stage=Stage.TRAINING, step=step, total_steps=9, share=step / 10)
        cycle_run.record_progress(
            db, cycle_id, worker_id="w", progress=told, is_news=is_news, heartbeat_at=NOW, now=NOW
        )

    seen: list[dict[str, Any]] = []
    with daemon.http.stream("GET", path, headers=STREAM) as response:
        for line in response.iter_lines():
            if not line.startswith("data: "):
                continue
            seen.append(json.loads(line.removeprefix("data: ")))
            step = seen[-1]["data"].get("step")
            if seen[-1]["type"] == "sleep_cycle.started":
                write(1, is_news=False)
            elif step == 1:
                write(2, is_news=True)
            elif step == 2:
                write(3, is_news=False)
            elif step == 3:
                cycle_end.settle_dead_worker(db, cycle_id, end=WorkerEnd(exit_code=1), now=NOW)
                sleep.cancel_cycle(db, cycle_id, now=NOW)
    listed = daemon.http.get(path).json()["data"]
    assert [event for event in seen if event in listed] == listed
    assert [event["id"] for event in seen] == sorted(event["id"] for event in seen)
    told = [event["data"]["step"] for event in seen if event["type"] == "sleep_cycle.progress"]
    assert told in ([1, 2, 3], [0, 1, 2, 3])
    kept = [event["data"]["step"] for event in listed if event["type"] == "sleep_cycle.progress"]
    assert kept == [2]
