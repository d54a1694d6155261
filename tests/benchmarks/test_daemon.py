"""The daemon itself: how soon it is ready, what it costs idle, what a cycle leaves behind.

Only what a busy machine cannot spoil is asserted: what is mapped, and who is still there.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import psutil
import pytest

from tests.support import StartDaemon, make_exchange

pytestmark = pytest.mark.timeout(600)

STARTS = 5
IDLE_SECONDS = 10.0
HEAVY = ("torch", "transformers", "numpy")


def rss_mb(process: psutil.Process) -> float:
    """Resident memory of a process and all its children."""
    tree = [process, *process.children(recursive=True)]
    return sum(member.memory_info().rss for member in tree) / 1e6


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def baseline_seconds(code: str) -> float:
    """A process of Python that does this and ends."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - started


def test_start(start_daemon: StartDaemon) -> None:
    seconds: list[float] = []
    cpu: list[float] = []
    bare = [baseline_seconds("import fastapi, uvicorn, sqlalchemy.orm") for _ in range(STARTS)]
    for _ in range(STARTS):
        started = time.perf_counter()
        daemon = start_daemon()
        seconds.append(time.perf_counter() - started)
        cpu.append(cpu_seconds(psutil.Process(daemon.process.pid)))
        assert daemon.http.get("/readyz").json()["checks"]["database"] == "ok"
        daemon.stop()
    print(
        f"\n  ready after: median {median(seconds):.2f} s, worst {max(seconds):.2f} s, "
        f"{median(cpu):.2f} s of CPU (target 1.5); "
        f"importing its libraries alone {median(bare):.2f} s, ratio "
        f"{median(seconds) / median(bare):.1f}"
    )


def test_idle(start_daemon: StartDaemon) -> None:
    daemon = start_daemon()
    daemon.http.post("/v1/experiences/batch", json=[make_exchange(n) for n in range(40)])
    daemon.http.get("/stats")
    process = psutil.Process(daemon.process.pid)
    time.sleep(1.0)
    before = cpu_seconds(process)
    switches = sum(process.num_ctx_switches())
    time.sleep(IDLE_SECONDS)
    used = cpu_seconds(process) - before
    switches = sum(process.num_ctx_switches()) - switches
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as sleeper:
        time.sleep(0.5)
        bare = rss_mb(psutil.Process(sleeper.pid))
        sleeper.kill()
    memory = rss_mb(process)
    print(
        f"\n  idle: {memory:.0f} MB (target 100), a bare Python {bare:.0f} MB, ratio "
        f"{memory / bare:.1f}; {1000 * used:.0f} ms of CPU in {IDLE_SECONDS:.0f} s, "
        f"{switches} context switches, {process.num_threads()} threads"
    )
    mapped = {entry.path for entry in process.memory_maps()}
    assert not [path for path in mapped if any(f"/{name}/" in path for name in HEAVY)]


def test_memory_is_given_back_after_a_cycle(
    start_daemon: StartDaemon, embedded_model: Path
) -> None:
    daemon = start_daemon(base_model=embedded_model, mass_threshold=1e9)
    daemon.http.post("/v1/experiences/batch", json=[make_exchange(n) for n in range(12)])
    daemon.http.get("/stats")
    process = psutil.Process(daemon.process.pid)
    before = rss_mb(process)
    asked = {"force": True, "overrides": {"max_experiences": 8, "epochs": 1}}
    cycle_id = daemon.http.post("/v1/sleep-cycles", json=asked).json()["id"]
    peak = before
    while daemon.http.get(f"/v1/sleep-cycles/{cycle_id}").json()["finished_at"] is None:
        peak = max(peak, rss_mb(process))
        time.sleep(0.1)
    assert daemon.wait_for_cycle(cycle_id)["status"] in {"succeeded", "rejected"}
    deadline = time.monotonic() + 30
    while process.children() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not process.children()
    after = rss_mb(process)
    print(
        f"\n  process tree: {before:.0f} MB before a cycle, {peak:.0f} MB at its peak, "
        f"{after:.0f} MB after it: {after - before:+.1f} MB stay"
    )
    assert after - before < (peak - before) / 10
