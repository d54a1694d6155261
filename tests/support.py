"""What tests use to drive the daemon from outside: processes, ports, exchanges."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from alembic import command
from alembic.config import Config

import migrations
from app.db.engine import Database
from app.domain.instance import InstanceDefaults
from tests.patience import seconds_left, wait_until

ENDED = frozenset({"succeeded", "rejected", "failed", "cancelled"})


@dataclass
class RunningDaemon:
    """A daemon in a process of its own, and a client for it."""

    process: subprocess.Popen[bytes]
    http: httpx.Client
    data_dir: Path
    log_path: Path
    log_starts_at: int = 0
    database_url: str | None = None
    """SAGE_DATABASE_URL, where it has one."""

    def stop(self) -> int:
        """Ask it to end, as an init system does; returns its exit code."""
        self.process.terminate()
        return self.process.wait(timeout=seconds_left())

    @property
    def log(self) -> str:
        """All that it logged so far in this test."""
        return self.log_path.read_bytes()[self.log_starts_at :].decode()

    def get_cycle(self, cycle_id: str) -> dict[str, Any]:
        """A cycle as it is now."""
        found: dict[str, Any] = self.http.get(f"/v1/sleep-cycles/{cycle_id}").json()
        return found

    def wait_for_cycle(self, cycle_id: str) -> dict[str, Any]:
        """Wait for a cycle's end and return it."""

        def ended() -> dict[str, Any] | None:
            cycle = self.get_cycle(cycle_id)
            return cycle if cycle["status"] in ENDED else None

        # A look costs 5 ms of both; twenty a second were a tenth of the core that trains.
        return wait_until(
            ended,
            lambda: f"the cycle ended: {self.get_cycle(cycle_id)}\n{self.log}",
            every_seconds=0.2,
        )

    def wait_for_step(self, cycle_id: str) -> dict[str, Any]:
        """Wait until a cycle has made a step of its training; returns its progress."""

        def begun() -> dict[str, Any] | None:
            cycle = self.get_cycle(cycle_id)
            if cycle["status"] in ENDED:
                pytest.fail(f"the cycle ended before it was seen to train: {cycle}\n{self.log}")
            progress: dict[str, Any] = cycle["progress"] or {}
            return progress if progress.get("step") else None

        return wait_until(begun, lambda: f"the cycle trains\n{self.log}")


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


def launch(
    data_dir: Path,
    log_path: Path,
    *,
    tls: ssl.SSLContext | None = None,
    module: str | None = None,
    **settings: Any,
) -> RunningDaemon:
    """Start a daemon and wait until it answers, as the fixture `start_daemon` says."""
    port = settings.pop("port", None) or free_port()
    # Tests run side by side: a child that yields its cores would wait for another test's end.
    environment = {
        "SAGE_DATA_DIR": str(data_dir),
        "SAGE_PORT": str(port),
        "SAGE_CHILD_NICENESS": "0",
    }
    environment |= {f"SAGE_{name.upper()}": str(value) for name, value in settings.items()}
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *([module] if module else ["app", "serve"])],
            env={**os.environ, **environment},
            stdout=log,
            stderr=log,
        )
    scheme = "https" if tls else "http"
    address = "[::1]" if settings.get("host") == "::" else "127.0.0.1"
    http = make_client(f"{scheme}://{address}:{port}", tls=tls)
    url = environment.get("SAGE_DATABASE_URL") or os.environ.get("SAGE_DATABASE_URL")
    daemon = RunningDaemon(process, http, data_dir, log_path, database_url=url)
    try:
        wait_until_up(daemon)
    except BaseException:
        end(daemon)
        raise
    return daemon


def make_client(url: str, *, tls: ssl.SSLContext | None = None) -> httpx.Client:
    """A client that waits for an answer as long as the test may last."""
    return httpx.Client(base_url=url, timeout=seconds_left(), verify=tls or False)


def wait_until_up(daemon: RunningDaemon) -> None:
    """Wait until a daemon answers, or fail with its log."""
    wait_until(lambda: _answers(daemon), lambda: f"the daemon is up:\n{daemon.log}")


def _answers(daemon: RunningDaemon) -> bool:
    if daemon.process.poll() is not None:
        pytest.fail(f"the daemon did not start:\n{daemon.log}")
    try:
        daemon.http.get("/healthz")
    except httpx.TransportError:
        return False
    return True


def end(daemon: RunningDaemon) -> None:
    """End a daemon that nobody needs any more, without a word, and whatever it is doing."""
    daemon.http.close()
    if daemon.process.poll() is None:
        daemon.process.kill()
    daemon.process.wait()


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
) -> subprocess.CompletedProcess[str]:
    """Run `sage-sleep` as a person does."""
    result = subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds_left(),
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


@contextmanager
def locked(db: Database) -> Iterator[None]:
    """Hold the write lock, as another process of the same database does."""
    with db.write() as session:
        session.connection()
        yield


def migrate_again(db: Database, revision: str) -> None:
    """Take the schema back to a revision, and forward to the newest."""
    config = Config()
    config.set_main_option("script_location", str(Path(os.fspath(migrations.__file__)).parent))
    config.attributes["url"] = db.url
    command.downgrade(config, revision)
    command.upgrade(config, "head")
