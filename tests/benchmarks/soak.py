"""An hour of a hundred sessions in ten minutes, with cycles running: latencies, and is memory flat.

python -m tests.benchmarks.soak [--minutes 10] [--base-model DIRECTORY]

A hundred sessions that each say something twice a minute post 12,000 exchanges in an hour, 20 a
second here; pages of the console and scrapers read beside them, and five streams stay open. The
base is a tiny one of random weights, so that cycles follow each other.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import httpx
import psutil

from app.training.fetching import fetch_embedded_model
from tests.benchmarks.growth import running_daemon
from tests.benchmarks.load import Load, request_bytes, run_load
from tests.benchmarks.prepared import always, prepared_posts
from tests.benchmarks.test_ingest_speed import exchange
from tests.support import RunningDaemon, run_command
from tests.tiny import LOOSE, make_tiny_model

POSTS_PER_SECOND = 20.0
READS_PER_SECOND = {
    "/stats": 2.0,
    "/v1/experiences?limit=50": 2.0,
    "/v1/sleep-cycles?limit=20": 2.0,
    "/v1/checkpoints?limit=20": 1.0,
    "/metrics": 0.5,
    "/readyz": 1.0,
}
"""Each on one connection, which the daemon closes after 5 s without a request."""

STREAMS = 5
STOCK = 8000
"""Exchanges posted before the clock runs, so that the words and pages that a daemon remembers, both
bounded, are as many as they will be: 65,536 words come with some 6,000 of them."""

WARM_UP_SHARE = 1 / 3


class Memory:
    """Samples a process's resident memory once a second."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.samples: list[tuple[float, float]] = []

    def start(self) -> None:
        """Begin to sample."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        started = time.monotonic()
        while not self._ended.wait(1.0):
            megabytes = self._process.memory_info().rss / 1e6
            self.samples.append((time.monotonic() - started, megabytes))

    def describe(self) -> str:
        """First, last and most of it after warm-up, and by how much it grows."""
        after = self.samples[int(len(self.samples) * WARM_UP_SHARE) :]
        slope, _ = statistics.linear_regression(*zip(*after, strict=True))
        values = [megabytes for _, megabytes in after]
        return (
            f"daemon's memory after warm-up: {values[0]:.1f} MB, at the end {values[-1]:.1f} MB, "
            f"most {max(values):.1f} MB, slope {slope * 60:+.2f} MB a minute"
        )


def fill(daemon: RunningDaemon) -> None:
    """Post the stock, whose numbers no post of the load has."""
    for first in range(10**6, 10**6 + STOCK, 500):
        batch = [exchange(number) for number in range(first, first + 500)]
        daemon.http.post("/v1/experiences/batch", json=batch).raise_for_status()


def follow(base_url: str, ends_at: float) -> int:
    """Keep one live stream open until then, and open it again if it ends; returns its events."""
    events = 0
    headers = {"Accept": "text/event-stream"}
    with httpx.Client(base_url=base_url, timeout=30) as client:
        while time.monotonic() < ends_at:
            with client.stream("GET", "/v1/instances/default/events", headers=headers) as answer:
                for line in answer.iter_lines():
                    events += line.startswith("event:")
                    if time.monotonic() > ends_at:
                        break
    return events


def soak(daemon: RunningDaemon, seconds: float) -> tuple[dict[str, Load], int, Memory]:
    """Load a daemon for so long; loads by route, events streamed, and its memory."""
    port = daemon.http.base_url.port
    assert port is not None
    memory = Memory(daemon.process.pid)
    ends_at = time.monotonic() + seconds
    posts = prepared_posts(0, round(2 * seconds * POSTS_PER_SECOND))
    memory.start()
    with ThreadPoolExecutor(1 + len(READS_PER_SECOND) + STREAMS) as threads:
        streams = [
            threads.submit(follow, str(daemon.http.base_url), ends_at) for _ in range(STREAMS)
        ]
        loads = {
            "POST /v1/experiences": threads.submit(
                run_load,
                port,
                posts,
                connections=10,
                seconds=seconds,
                requests_per_second=POSTS_PER_SECOND,
            )
        }
        for path, rate in READS_PER_SECOND.items():
            loads[f"GET {path}"] = threads.submit(
                run_load,
                port,
                always(request_bytes("GET", path)),
                connections=1,
                seconds=seconds,
                requests_per_second=rate,
            )
        found = {name: load.result() for name, load in loads.items()}
        events = sum(stream.result() for stream in streams)
    memory.stop()
    return found, events, memory


def main() -> None:
    """Run what the arguments ask for, and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument(
        "--base-model", type=Path, help="default: two thin layers of random weights"
    )
    wanted = parser.parse_args()
    cache = Path(os.environ.get("SAGE_TEST_CACHE", Path.home() / ".cache" / "sage-sleep-tests"))
    gate = {f"gate_{name}": value for name, value in asdict(LOOSE).items() if name != "scales"}
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        base = wanted.base_model or make_tiny_model(
            Path(directory) / "tiny", tokenizer_of=fetch_embedded_model(cache)
        )
        data_dir = Path(directory) / "data"
        data_dir.mkdir()
        run_command("migrate", environment={"SAGE_DATA_DIR": str(data_dir)})
        settings = {"mass_threshold": 5, "min_interval_seconds": 0, "idle_seconds": 0, **gate}
        with running_daemon(data_dir, base_model=base, probe_prompts="[]", **settings) as daemon:
            fill(daemon)
            loads, events, memory = soak(daemon, wanted.minutes * 60)
            cycles = daemon.http.get("/v1/sleep-cycles", params={"limit": 500}).json()["data"]
    for name, load in loads.items():
        print(f"{name:34} {load}")
    statuses = [cycle["status"] for cycle in cycles]
    print(f"cycles: {', '.join(f'{statuses.count(s)} {s}' for s in sorted(set(statuses)))}")
    print(f"{STREAMS} streams carried {events} events")
    print(memory.describe())


if __name__ == "__main__":
    main()
