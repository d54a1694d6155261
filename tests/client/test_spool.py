"""Exchanges on this machine's disk: in order, whole, each once, whoever is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from app.client import Exchange, Spool, SpoolFull, SpoolUnusable

ADD_FOREVER = """
import sys
from app.client import Exchange, Spool

spool = Spool(sys.argv[1])
number = 0
while True:
    spool.add(Exchange(prompt=f"{sys.argv[2]}-{number}", response="r" * 2000))
    print(f"{sys.argv[2]}-{number}", flush=True)
    number += 1
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "spool.db"


def exchange(number: int) -> Exchange:
    return Exchange(prompt=f"p{number}", response=f"r{number}")


def prompts(spool: Spool) -> list[Any]:
    return [entry.exchange["prompt"] for entry in spool.peek(10**6, max_bytes=10**9)]


def test_exchanges_come_out_in_order_until_settled(path: Path) -> None:
    with Spool(path) as spool:
        numbers = [spool.add(exchange(n)) for n in range(5)]
        assert [entry.seq for entry in spool.peek(3, max_bytes=10**6)] == numbers[:3]
        spool.settle(numbers[:2], [])
        assert len(spool) == 3
    with Spool(path) as again:
        assert prompts(again) == ["p2", "p3", "p4"]
        assert again.add(exchange(5)) > numbers[-1]


def test_exchange_gets_the_time_it_was_added_unless_it_has_one(path: Path) -> None:
    with Spool(path) as spool:
        spool.add(exchange(0))
        spool.add({"prompt": "p", "response": "r", "occurred_at": "2026-01-18T00:00:00Z"})
        first, second = spool.peek(2, max_bytes=10**6)
    assert "occurred_at" in first.exchange
    assert second.exchange["occurred_at"] == "2026-01-18T00:00:00Z"


def test_files_are_their_owners_alone(path: Path) -> None:
    with Spool(path) as spool:
        spool.add(exchange(0))
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert len(modes) >= 2
    assert set(modes.values()) == {0o600}


def test_refused_exchange_is_set_aside_with_its_reason_and_can_be_tried_again(path: Path) -> None:
    with Spool(path) as spool:
        bad, good = spool.add(exchange(0)), spool.add(exchange(1))
        spool.settle([good], [(bad, "too long", {"status": 422})])
        (rejected,) = spool.list_rejected()
        assert (len(spool), rejected.seq, rejected.reason) == (0, bad, "too long")
        assert rejected.problem == {"status": 422}
        assert rejected.exchange["prompt"] == "p0"
        assert spool.retry_rejected() == 1
        assert (prompts(spool), spool.list_rejected()) == (["p0"], [])
        spool.settle([], [(spool.peek(1)[0].seq, "again", {})])
        assert spool.forget_rejected() == 1


def test_full_spool_says_so_keeps_what_it_has_and_takes_more_when_emptied(path: Path) -> None:
    with Spool(path, max_bytes=64 * 1024) as spool:
        added: list[int] = []
        with pytest.raises(SpoolFull, match="full"):
            added.extend(spool.add(Exchange(prompt="p", response="r" * 3000)) for _ in range(999))
        assert 10 < len(added) == len(spool)
        spool.settle(added, [])
        spool.add(exchange(0))
        assert path.stat().st_size <= 64 * 1024


def test_file_that_is_no_spool_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"[]" * 5000)
    with pytest.raises(SpoolUnusable, match="cannot be used"):
        Spool(path)
    assert path.read_bytes() == b"[]" * 5000


def test_delivered_text_is_gone_from_the_file(path: Path) -> None:
    with Spool(path) as spool:
        number = spool.add(Exchange(prompt="the secret of the basil", response="r" * 100))
        spool.settle([number], [])
    assert b"secret of the basil" not in path.read_bytes()


@pytest.mark.parametrize("value", [float("nan"), object()])
def test_what_is_no_json_is_refused_at_once(path: Path, value: Any) -> None:
    with Spool(path) as spool:
        with pytest.raises((ValueError, TypeError)):
            spool.add(Exchange(prompt="p", response="r", metadata={"x": value}))
        assert len(spool) == 0


def test_threads_share_a_spool(path: Path) -> None:
    with Spool(path) as spool:

        def add_fifty(first: int) -> None:
            for number in range(first, first + 50):
                spool.add(exchange(number))

        threads = [threading.Thread(target=add_fifty, args=[n]) for n in range(0, 200, 50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(prompts(spool)) == sorted(f"p{n}" for n in range(200))


def start_adding(path: Path, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", ADD_FOREVER, str(path), name], stdout=subprocess.PIPE, text=True
    )


def kill_after(process: subprocess.Popen[str], acknowledged: int) -> list[str]:
    """Read so many acknowledgements, kill -9, and return all that were given."""
    assert process.stdout is not None
    names = [process.stdout.readline().strip() for _ in range(acknowledged)]
    process.send_signal(signal.SIGKILL)
    names += process.stdout.read().split()
    process.wait()
    process.stdout.close()
    return names


def test_two_processes_killed_while_adding_lose_nothing_acknowledged(path: Path) -> None:
    processes = [start_adding(path, name) for name in ("a", "b")]
    acknowledged = [kill_after(process, 40) for process in processes]
    with Spool(path) as spool:
        kept = prompts(spool)
    for names in acknowledged:
        own = [name for name in kept if name[0] == names[0][0]]
        assert own[: len(names)] == names
        assert len(own) - len(names) <= 1
    assert len(kept) == len(set(kept))


def test_torn_end_of_the_log_costs_nothing_before_it(path: Path) -> None:
    kill_after(start_adding(path, "a"), 20)
    log = path.with_name(path.name + "-wal")
    whole = log.read_bytes()
    log.write_bytes(whole[: len(whole) - 3000])
    with Spool(path) as spool:
        kept = prompts(spool)
    assert kept == [f"a-{number}" for number in range(len(kept))]
    assert len(kept) >= 18
