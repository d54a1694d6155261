"""What tests use to drive the daemon from outside: processes, ports, exchanges."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.db.engine import Database
from app.domain.instance import InstanceDefaults

START_TIMEOUT_SECONDS = 30.0


@dataclass
class RunningDaemon:
    """A daemon in a process of its own, and a client for it."""

    process: subprocess.Popen[bytes]
    http: httpx.Client
    data_dir: Path
    log_path: Path

    def stop(self) -> int:
        """Ask it to end, as an init system does; returns its exit code."""
        self.process.terminate()
        return self.process.wait(timeout=30)

    @property
    def log(self) -> str:
        """All that it logged so far."""
        return self.log_path.read_text()

    def wait_for_cycle(self, cycle_id: str, *, timeout_seconds: float = 240) -> dict[str, Any]:
        """Wait for a cycle's end and return it."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            cycle: dict[str, Any] = self.http.get(f"/v1/sleep-cycles/{cycle_id}").json()
            if cycle["status"] in {"succeeded", "rejected", "failed", "cancelled"}:
                return cycle
            time.sleep(0.2)
        raise TimeoutError(f"the cycle did not end: {cycle}\n{self.log}")


StartDaemon = Callable[..., RunningDaemon]
Reopen = Callable[..., Database]


def changed(defaults: InstanceDefaults, **changes: Any) -> InstanceDefaults:
    """Other defaults: a value for a field, or a mapping that replaces some of the field's own."""
    return replace(
        defaults,
        **{
            name: replace(getattr(defaults, name), **value) if isinstance(value, dict) else value
            for name, value in changes.items()
        },
    )


def wait_until_up(daemon: RunningDaemon) -> None:
    """Wait until a daemon answers, or fail with its log."""
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        if daemon.process.poll() is not None:
            break
        try:
            daemon.http.get("/healthz")
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"the daemon did not start:\n{daemon.log}")


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run_command(
    *arguments: str,
    environment: dict[str, str],
    check: bool = True,
    timeout_seconds: float = 120.0,
) -> subprocess.CompletedProcess[str]:
    """Run `sage-sleep` as a person does."""
    result = subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_seconds,
    )
    if check and result.returncode != 0:
        pytest.fail(f"sage-sleep {arguments}: {result.stdout}{result.stderr}")
    return result


def make_exchange(number: int, **values: Any) -> dict[str, Any]:
    """A salient exchange; every number gives another one."""
    subjects = ["basil", "fan", "window", "bench", "staircase", "diary", "kettle", "lamp"]
    subject = subjects[number % len(subjects)]
    return {
        "prompt": f"What did we learn about the {subject} on day {number}?",
        "response": (
            f"I notice that on day {number} our {subject} number{number} taught us something "
            f"specifically about word{number} and thing{number}. I feel curious: we understand "
            f"together why mark{number} matters, and I realize precisely what place{number} "
            f"asked of us. Should we look again at sign{number}?"
        ),
        **values,
    }
