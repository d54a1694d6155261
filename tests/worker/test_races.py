"""Several at once over HTTP: one cycle starts, one promotion wins, whoever else asks is told."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from app.db.engine import Database
from tests.publishing import publish
from tests.support import StartDaemon, make_exchange

CALLERS = 6


def at_once(ask: Callable[[int], int]) -> Counter[int]:
    """Statuses of so many requests that start together."""
    statuses: Counter[int] = Counter()
    together, lock = threading.Barrier(CALLERS), threading.Lock()

    def run(number: int) -> None:
        together.wait()
        status = ask(number)
        with lock:
            statuses[status] += 1

    threads = [threading.Thread(target=run, args=(number,)) for number in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def test_scheduler_and_many_curls_start_one_cycle(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(
        module="tests.worker.plodding_daemon",
        scheduler_interval_seconds=0.05,
        idle_seconds=0,
        mass_threshold=0.5,
        min_experiences=1,
    )
    daemon.http.post("/v1/experiences/batch", json=[make_exchange(n) for n in range(12)])
    found = at_once(
        lambda _: daemon.http.post("/v1/sleep-cycles", json={"force": True}).status_code
    )
    cycles = daemon.http.get("/v1/sleep-cycles").json()["data"]
    assert len(cycles) == 1
    won = int(cycles[0]["trigger"] == "request")
    assert found == Counter({409: CALLERS - won}) + Counter({202: won})


def test_one_of_many_promotions_wins(
    start_daemon: StartDaemon, db: Database, data_dir: Path
) -> None:
    root = data_dir / "checkpoints"
    ids = [publish(db, root, range(n, n + 20))[0] for n in (0, 20, 40)]
    daemon = start_daemon(scheduler_interval_seconds=3600)
    tag = daemon.http.get("/v1/instances/default/aliases").headers["etag"]

    def promote(number: int) -> int:
        path = f"/v1/checkpoints/{ids[number % 2]}/promote"
        return daemon.http.post(path, headers={"If-Match": tag}).status_code

    assert at_once(promote) == Counter({200: 1, 412: CALLERS - 1})
    aliases = daemon.http.get("/v1/instances/default/aliases").json()
    assert aliases["current"] in ids[:2]
    assert aliases["previous"] == ids[2]
