"""A daemon, and the commands as a person or a script runs them against it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.clock import utc_now
from app.db.engine import Database
from app.domain.exchange import Exchange
from app.services.ingest import Submission, ingest_many
from tests.support import RunningDaemon, make_exchange, run_command

Command = Callable[..., str]


@pytest.fixture
def daemon(shared_daemon: RunningDaemon, db: Database) -> RunningDaemon:
    """A daemon that never sleeps by itself, whose base model is not there, with 20 exchanges.

    They are not posted: a daemon looks at who should sleep soon after a post, when a test may have
    made its exchanges old.
    """
    made = [Submission(exchange=Exchange(**make_exchange(n))) for n in range(20)]
    ingest_many(db, made, now=utc_now())
    return shared_daemon


@pytest.fixture
def command(daemon: RunningDaemon) -> Command:
    """Run a command against the daemon; returns standard output, and demands the exit code."""

    def run(*arguments: str, code: int = 0, stream: str = "stdout") -> str:
        environment = {"SAGE_PORT": str(daemon.http.base_url.port), "COLUMNS": "160"}
        result = run_command(*arguments, environment=environment, check=False)
        assert result.returncode == code, result.stdout + result.stderr
        return str(getattr(result, stream))

    return run
