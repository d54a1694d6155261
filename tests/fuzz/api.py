"""Ask a real daemon everything that its OpenAPI document allows, and what it forbids.

python -m tests.fuzz.api [--max-examples 60] [--seed N]

schemathesis makes the requests, from the document that the daemon itself serves, with all of its
checks, in all of its phases: no answer may be a 5xx, none may be other than documented. The daemon
has experiences, cycles and checkpoints to destroy, demands tokens, and trains in milliseconds.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx

from app.db.engine import Database
from app.domain.access import Scope
from app.services import tokens
from app.settings import Settings
from tests.publishing import publish
from tests.support import RunningDaemon, free_port, run_command, wait_until_up

REQUEST_SECONDS = 20
"""Live streams end at the daemon's own limit or here; an answer takes milliseconds."""

CONFIG = Path(__file__).with_name("schemathesis.toml")

_CASES = re.compile(r"(\d+) (?:test cases )?generated")


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What schemathesis said."""

    exit_code: int
    cases: int
    output: str


@contextmanager
def stocked_daemon(directory: Path) -> Iterator[tuple[RunningDaemon, str]]:
    """A daemon with something of everything, and a token for all of it."""
    run_command("migrate", environment={"SAGE_DATA_DIR": str(directory)})
    settings = Settings(data_dir=directory)
    db = Database(settings.effective_database_url, settings.instance_defaults())
    for start in (0, 20):
        publish(db, settings.checkpoints_dir, range(start, start + 20))
    made = tokens.create_token(
        db,
        name="fuzz",
        scopes=frozenset(Scope),
        instances=None,
        expires_at=None,
        requests_per_minute=0,
        max_body_bytes=None,
        now=datetime.now(UTC),
    )
    db.close()
    port = free_port()
    log_path = directory / "daemon.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.daemon"],
            env={**os.environ, "SAGE_DATA_DIR": str(directory), "SAGE_PORT": str(port)},
            stdout=log,
            stderr=log,
        )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
        daemon = RunningDaemon(process, http, directory, log_path)
        wait_until_up(daemon)
        try:
            yield daemon, made.text
        finally:
            process.terminate()
            process.wait(timeout=30)


def ask_everything(directory: Path, *, max_examples: int, seed: int, phases: str) -> Finding:
    """Run schemathesis against a daemon on a directory of its own."""
    with stocked_daemon(directory) as (daemon, token):
        command = [
            *(sys.executable, "-m", "schemathesis.cli"),
            *("--config-file", str(CONFIG), "run", f"{daemon.http.base_url}/openapi.json"),
            *("--checks", "all", "--mode", "all", "--phases", phases),
            *("--max-examples", str(max_examples), "--seed", str(seed)),
            *("--request-timeout", str(REQUEST_SECONDS), "--continue-on-failure"),
            *("--header", f"Authorization: Bearer {token}", "--no-color"),
        ]
        result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=directory)
    output = result.stdout + result.stderr
    return Finding(
        exit_code=result.returncode,
        cases=sum(int(count) for count in _CASES.findall(output)),
        output=output,
    )


def main() -> int:
    """Run what the arguments ask for; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--max-examples", type=int, default=60, help="per operation and phase")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--phases", default="examples,coverage,fuzzing,stateful")
    wanted = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        found = ask_everything(
            Path(directory),
            max_examples=wanted.max_examples,
            seed=wanted.seed,
            phases=wanted.phases,
        )
    print(found.output)
    print(f"seed {wanted.seed}, {found.cases} cases, {time.monotonic() - started:.0f} s")
    return found.exit_code


if __name__ == "__main__":
    sys.exit(main())
