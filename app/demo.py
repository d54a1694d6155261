"""`sage-sleep demo`: a whole night in two minutes, on a real daemon in a process of its own.

It lives in a data directory of its own, which every run starts afresh, and talks to the daemon
over HTTP as any session does.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from types import FrameType
from typing import NoReturn

from filelock import FileLock, Timeout
from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from app.client import Exchange, SleepClient, SleepCycle
from app.follow import follow_cycle

MASS_THRESHOLD = 14.0
QUESTION = "Who are you, and who raised you?"
START_TIMEOUT_SECONDS = 60.0
TRIGGER_TIMEOUT_SECONDS = 60.0
PAUSE_BETWEEN_POSTS_SECONDS = 0.05


class DemoFailed(Exception):
    """A step of the demo did not come to its end; the message says which."""


def run_demo(console: Console, *, directory: Path, base_model: Path, keep_running: bool) -> None:
    """Replay the bundled session until the trigger fires, follow the cycle, print what came of it.

    Args:
        directory: The demo's data directory; emptied first.
        base_model: Directory of the fetched base model.
        keep_running: Leave the daemon running until Ctrl-C instead of stopping it.

    Raises: DemoFailed, app.client.SleepClientError.
    """
    _clear(directory)
    port = _free_port()
    environment = {
        "SAGE_DATA_DIR": str(directory),
        "SAGE_DATABASE_URL": f"sqlite:///{directory / 'sage-sleep.db'}",
        "SAGE_HOST": "127.0.0.1",
        "SAGE_PORT": str(port),
        "SAGE_REQUIRE_TOKENS": "false",
        "SAGE_BASE_MODEL": str(base_model),
        "SAGE_MASS_THRESHOLD": str(MASS_THRESHOLD),
        "SAGE_IDLE_SECONDS": "1",
        "SAGE_SCHEDULER_INTERVAL_SECONDS": "1",
        "SAGE_PROBE_PROMPTS": json.dumps([QUESTION]),
        "SAGE_LOG_FORMAT": "json",
    }
    _run_command(["migrate"], environment)
    log_path = directory / "daemon.log"
    with _daemon(environment, log_path), SleepClient(f"http://127.0.0.1:{port}") as client:
        _wait_until_ready(client, log_path)
        console.print(f"Daemon at {client.url}, its log in {log_path}.")
        _replay(console, client)
        cycle = _follow(console, client, _wait_for_cycle(client))
        _print_outcome(console, client, cycle)
        if keep_running:
            console.print(f"The daemon stays at {client.url}; stop it with Ctrl-C.")
            _wait_for_signal()


def _clear(directory: Path) -> None:
    """Start afresh, unless another demo's daemon still lives there."""
    directory.mkdir(parents=True, exist_ok=True)
    lock = FileLock(directory / "daemon.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise DemoFailed(f"Another demo runs in {directory}; stop it first.") from error
    lock.release()
    shutil.rmtree(directory)
    directory.mkdir()


def _wait_for_signal() -> None:
    """Wait for Ctrl-C or SIGTERM, whichever comes, and return from either."""
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked.set())
    while not asked.wait(1.0):
        pass


def _replay(console: Console, client: SleepClient) -> None:
    text = resources.files("app").joinpath("demo_session.json").read_text(encoding="utf-8")
    exchanges = json.loads(text)
    words_column = TextColumn("{task.fields[words]}", markup=False)
    columns = (TextColumn("{task.description}"), BarColumn(), words_column)
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("Live session", total=MASS_THRESHOLD, words="")
        for number, (prompt, response) in enumerate(exchanges, start=1):
            client.post_experience(
                Exchange(
                    prompt=prompt,
                    response=response,
                    session="demo",
                    session_number=1,
                    phase="relating",
                    source_id=f"demo-{number}",
                )
            )
            mass = client.get_stats("default").instances[0].mass
            words = f"{number} exchanges, salience mass {mass:.1f} of {MASS_THRESHOLD:.1f}"
            progress.update(task, completed=min(mass, MASS_THRESHOLD), words=words)
            time.sleep(PAUSE_BETWEEN_POSTS_SECONDS)


def _wait_for_cycle(client: SleepClient) -> str:
    deadline = time.monotonic() + TRIGGER_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        if cycles := client.list_sleep_cycles(instance="default").data:
            return cycles[0].id
        time.sleep(0.2)
    reasons = client.get_sleep_decision("default").reasons
    raise DemoFailed(f"The trigger did not fire: {'; '.join(reason.text for reason in reasons)}")


def _follow(console: Console, client: SleepClient, cycle_id: str) -> SleepCycle:
    console.print("The session went quiet and the mass is over the threshold: sleep begins.")
    return follow_cycle(console, client, cycle_id)


def _print_outcome(console: Console, client: SleepClient, cycle: SleepCycle) -> None:
    metrics, verdict = cycle.metrics, cycle.verdict
    if cycle.status != "succeeded" or metrics is None or verdict is None:
        why = cycle.error or verdict
        raise DemoFailed(f"The cycle ended as {cycle.status}: {json.dumps(why.raw if why else {})}")
    checkpoint = client.get_checkpoint(str(cycle.checkpoint_id))
    table = Table(show_header=False, box=None)
    table.add_row("Checkpoint", checkpoint.name)
    table.add_row("Aliases", ", ".join(checkpoint.aliases))
    table.add_row(
        "Held-out loss",
        f"{metrics.held_out_before.nats_per_token:.3f} -> "
        f"{metrics.held_out_reloaded.nats_per_token:.3f} nats per token",
    )
    table.add_row("Verdict", f"{verdict.status}, all {len(verdict.checks)} checks passed")
    table.add_row("Files", ", ".join(file.name for file in checkpoint.files))
    console.print(table)
    for reply in metrics.replies:
        for when, said in (("Before", reply.before), ("After", reply.after)):
            # Texts, and not markup: a model may say anything.
            title = Text(f"{when} sleep: {reply.prompt}")
            console.print(Panel(Text(said.strip()), title=title))
    console.print(
        "Next: `make run` starts a daemon of your own; its console is http://127.0.0.1:8760/, and "
        "README's five minutes with curl go on from there. `sage-sleep demo --keep-running` leaves "
        "this one up.",
        markup=False,
    )


@contextmanager
def _daemon(environment: Mapping[str, str], log_path: Path) -> Iterator[None]:
    with log_path.open("wb") as log:
        process = subprocess.Popen(  # our own module
            [sys.executable, "-P", "-m", "app", "serve"],
            env={**os.environ, **environment},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        # Else whoever ends the demo leaves its daemon behind, in a session of its own.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _leave)
        try:
            yield
        finally:
            process.terminate()
            process.wait()


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    """End as the signal would have, by the way of everything that has to be put away."""
    raise SystemExit(128 + number)


def _run_command(arguments: list[str], environment: Mapping[str, str]) -> None:
    result = subprocess.run(  # noqa: S603  # our own module
        [sys.executable, "-P", "-m", "app", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise DemoFailed(f"`sage-sleep {' '.join(arguments)}` failed: {result.stderr[-2000:]}")


def _wait_until_ready(client: SleepClient, log_path: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not client.is_ready():
        if time.monotonic() > deadline:
            raise DemoFailed(f"The daemon did not become ready; its log is {log_path}.")
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
