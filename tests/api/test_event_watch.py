"""Many listeners cost what one does, and all are told."""

from __future__ import annotations

import asyncio
import json

import httpx
import psutil
import pytest

from tests.patience import pace, seconds_left
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
