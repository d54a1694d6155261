"""What is current, each time it changes, for a session that loads it."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.client import AsyncSleepClient, Current, RequestRefused, SleepClient
from app.db.engine import Database
from tests.patience import seconds_left
from tests.publishing import publish
from tests.support import RunningDaemon, StartDaemon, free_port


@pytest.fixture
def seen(url: str, tmp_path: Path) -> Iterator[queue.Queue[Current]]:
    """What a watching session is told, from a thread as a session would have one."""
    told: queue.Queue[Current] = queue.Queue()

    def watch() -> None:
        with SleepClient(url) as client:
            for current in client.watch_current("default", tmp_path / "adapters"):
                told.put(current)

    threading.Thread(target=watch, daemon=True).start()
    yield told
    assert told.empty()


def test_base_then_each_promotion_and_each_rollback_down_to_the_base(
    client: SleepClient,
    seen: queue.Queue[Current],
    db: Database,
    data_dir: Path,
) -> None:
    first = seen.get(timeout=seconds_left())
    assert (first.is_base, first.directory) == (True, None)
    root = data_dir / "checkpoints"
    for numbers in (range(20), range(20, 40)):
        checkpoint_id, _ = publish(db, root, numbers)
        current = seen.get(timeout=seconds_left())
        assert current.checkpoint is not None
        assert current.directory is not None
        assert current.checkpoint.id == checkpoint_id
        weights = (current.directory / "adapter_model.safetensors").read_bytes()
        assert weights.endswith(checkpoint_id.encode())
    earlier = client.rollback().current
    current = seen.get(timeout=seconds_left())
    assert current.checkpoint is not None
    assert current.checkpoint.id == earlier
    client.patch_checkpoint(current.checkpoint.id, note="moves nothing")
    client.rollback()
    assert seen.get(timeout=seconds_left()).is_base


def test_watch_survives_restarts_and_says_only_what_changed(
    published: list[str],
    start_daemon: StartDaemon,
    tmp_path: Path,
) -> None:
    port = free_port()

    def start() -> RunningDaemon:
        return start_daemon(
            port=port, base_model=tmp_path / "none", scheduler_interval_seconds=3600
        )

    async def session() -> list[str | None]:
        daemon = await asyncio.to_thread(start)
        url = f"http://127.0.0.1:{port}"
        async with AsyncSleepClient(url, retry_seconds=1) as client:
            watch = client.watch_current("default", tmp_path / "adapters", poll_seconds=1)
            told = [await asyncio.wait_for(anext(watch), seconds_left())]
            waiting = asyncio.ensure_future(anext(watch))
            await asyncio.sleep(0.5)
            await asyncio.to_thread(daemon.stop)
            await asyncio.sleep(2)
            await asyncio.to_thread(start)
            await asyncio.sleep(2)
            assert not waiting.done()
            await client.rollback()
            told.append(await asyncio.wait_for(waiting, seconds_left()))
            return [current.checkpoint.id if current.checkpoint else None for current in told]

    assert asyncio.run(session()) == published[::-1]


def test_watching_an_instance_that_is_not_there_is_refused(
    client: SleepClient, tmp_path: Path
) -> None:
    with pytest.raises(RequestRefused) as raised:
        next(client.watch_current("nobody", tmp_path))
    assert raised.value.status == 404
