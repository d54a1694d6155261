"""From the spool to a real daemon: nothing blocks, nothing is lost, nothing is there twice."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.client import (
    AsyncSleepClient,
    AsyncSpoolSender,
    DaemonUnavailable,
    Exchange,
    RequestRefused,
    SleepClient,
    Spool,
    SpoolSender,
)
from tests.client.scripted import Answer, ScriptedServer
from tests.patience import pace, wait_until
from tests.support import StartDaemon, free_port, make_exchange

POST_FOREVER = """
import sys
from app.client import SleepClient, Spool, SpoolSender

with SleepClient(sys.argv[1]) as client, SpoolSender(client, Spool(sys.argv[2])) as sender:
    number = 0
    while True:
        sender.post({"prompt": f"{sys.argv[3]}-{number}", "response": f"I said {number}."})
        print(f"{sys.argv[3]}-{number}", flush=True)
        number += 1
"""


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path / "spool.db") as spool:
        yield spool


def kept_prompts(client: SleepClient) -> list[str]:
    return [experience.prompt for experience in client.iterate_experiences()][::-1]


def test_session_goes_on_while_the_daemon_is_away_and_all_is_there_once_it_is_back(
    start_daemon: StartDaemon, spool: Spool, tmp_path: Path
) -> None:
    port = free_port()
    exchanges = [make_exchange(n) for n in range(250)]
    with (
        SleepClient(f"http://127.0.0.1:{port}", retry_seconds=0) as client,
        SpoolSender(client, spool) as sender,
    ):
        started = time.monotonic()
        for exchange in exchanges:
            sender.post(exchange)
        assert time.monotonic() - started < 20 * pace()
        assert len(spool) == 250
        assert not sender.flush(0.2)
        assert "No daemon answers" in str(sender.last_error)
        start_daemon(port=port, base_model=tmp_path / "none", scheduler_interval_seconds=3600)
        assert sender.flush()
        assert kept_prompts(client) == [exchange["prompt"] for exchange in exchanges]
        times = [item.occurred_at for item in client.iterate_experiences()][::-1]
        assert all(at is not None for at in times)
        assert times == sorted(times, key=str)


def test_thread_delivers_by_itself_when_the_daemon_comes(
    start_daemon: StartDaemon, spool: Spool, tmp_path: Path
) -> None:
    port = free_port()
    spool.add(make_exchange(0))
    with (
        SleepClient(f"http://127.0.0.1:{port}", retry_seconds=0) as client,
        SpoolSender(client, spool) as sender,
    ):
        start_daemon(port=port, base_model=tmp_path / "none", scheduler_interval_seconds=3600)
        wait_until(lambda: not len(spool), "the first is delivered")
        sender.post(make_exchange(1))
        wait_until(lambda: not len(spool), "the second is delivered")
        assert len(kept_prompts(client)) == 2


def test_two_processes_killed_while_posting_through_one_spool_lose_and_double_nothing(
    client: SleepClient, url: str, spool: Spool
) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", POST_FOREVER, url, str(spool.path), name],
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("a", "b")
    ]
    acknowledged: list[str] = []
    for process in processes:
        assert process.stdout is not None
        acknowledged += [process.stdout.readline().strip() for _ in range(100)]
        process.kill()
        acknowledged += process.stdout.read().split()
        process.wait()
        process.stdout.close()
    delivery = client.deliver(spool)
    assert len(spool) == 0
    assert not delivery.held_back
    kept = kept_prompts(client)
    assert len(kept) == len(set(kept))
    assert set(acknowledged) <= set(kept)


def test_refused_exchange_does_not_stop_those_behind_it(client: SleepClient, spool: Spool) -> None:
    spool.add(make_exchange(0))
    spool.add(Exchange(prompt="too long", response="r" * 70_000))
    spool.add(Exchange(prompt="half a surrogate pair", response="\ud83c"))
    spool.add(make_exchange(1, instance="nobody-yet"))
    spool.add(make_exchange(2))
    delivery = client.deliver(spool)
    assert [item.result for item in delivery.results.values()].count("inserted") == 2
    assert [rejected.exchange["prompt"] for rejected in spool.list_rejected()] == [
        "too long",
        "half a surrogate pair",
    ]
    assert "65536" in spool.list_rejected()[0].reason
    assert "nobody-yet" in str(list(delivery.held_back.values()))
    client.put_instance("nobody-yet")
    client.deliver(spool)
    assert len(spool) == 0
    assert len(kept_prompts(client)) == 3


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_refused_token_leaves_every_exchange_waiting(
    scripted: ScriptedServer, spool: Spool, status: int
) -> None:
    scripted.answers = [Answer.of({"detail": "no"}, status=status)]
    spool.add(make_exchange(0))
    with SleepClient(scripted.url) as client, pytest.raises(RequestRefused):
        client.deliver(spool)
    assert (len(spool), spool.list_rejected()) == (1, [])


def test_batch_that_is_too_large_is_halved_until_it_fits(
    start_daemon: StartDaemon, spool: Spool, tmp_path: Path
) -> None:
    daemon = start_daemon(
        base_model=tmp_path / "none", max_body_bytes=4096, scheduler_interval_seconds=3600
    )
    for number in range(20):
        spool.add(make_exchange(number))
    spool.add(Exchange(prompt="larger than any body", response="word " * 1000))
    with SleepClient(str(daemon.http.base_url)) as client:
        client.deliver(spool)
        assert len(kept_prompts(client)) == 20
    assert len(spool.list_rejected()) == 1


def test_asyncio_session_spools_and_delivers_alike(
    start_daemon: StartDaemon, spool: Spool, tmp_path: Path
) -> None:
    port = free_port()

    async def session() -> int:
        url = f"http://127.0.0.1:{port}"
        async with (
            AsyncSleepClient(url, retry_seconds=0) as client,
            AsyncSpoolSender(client, spool) as sender,
        ):
            for number in range(30):
                await sender.post(make_exchange(number))
            assert not await sender.flush(0.1)
            await asyncio.to_thread(
                start_daemon,
                port=port,
                base_model=tmp_path / "none",
                scheduler_interval_seconds=3600,
            )
            assert await sender.flush()
            return len([item async for item in client.iterate_experiences()])

    assert asyncio.run(session()) == 30


def test_answer_lost_on_the_way_back_is_asked_for_again(
    scripted: ScriptedServer, spool: Spool
) -> None:
    spool.add(make_exchange(0))
    results = {"results": [{"index": 0, "result": "duplicate"}]}
    scripted.answers = [Answer.of(results, cut=5), Answer.of(results)]
    with SleepClient(scripted.url) as client:
        with pytest.raises(DaemonUnavailable):
            client.deliver(spool)
        assert len(spool) == 1
        client.deliver(spool)
    assert len(spool) == 0
    assert len({json.dumps(json.loads(asked.body)) for asked in scripted.asked}) == 1
