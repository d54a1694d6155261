"""Faults that happen inside a daemon or its child, at a moment that only they know.

A rig orders one by a file in the directory that `TORTURE_FAULTS` names; who meets the moment takes
the order away and lets it happen. Of the program only the clock is replaced, and the scheduler's
with it; its steps are seen by an audit hook of the interpreter.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from contextlib import closing, suppress
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import apscheduler.executors.base
import apscheduler.schedulers.base

from app import clock
from tests.small_disk import fill_up

DIRECTORY_VARIABLE = "TORTURE_FAULTS"

FULL_AT_PUBLICATION = "full-at-publication"
"""Before a checkpoint gets its name, so that it is published and cannot be registered; the order
holds the disk that is filled up."""

IS_FULL = "is-full"
"""Said to the rig once the disk is."""

KILL_AFTER_PUBLICATION = "kill-after-publication"
"""Once a checkpoint has its name and before it is registered."""


CLOCK_AHEAD = "clock-ahead"
"""As long as it stands, the wall clock is so many seconds ahead."""


def order(directory: Path, fault: str, text: str = "") -> Path:
    """Let a fault happen once."""
    path = directory / fault
    path.write_text(text)
    return path


def obey() -> None:
    """Let ordered faults happen in this process from now on; without a directory, none."""
    named = os.environ.get(DIRECTORY_VARIABLE)
    if named is None:
        return
    directory = Path(named)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "os.rename" and _is_published(Path(os.fsdecode(arguments[1]))):
            if (disk := _take(directory / FULL_AT_PUBLICATION)) is not None:
                _fill_up(Path(disk))
                order(directory, IS_FULL)
        elif (
            event == "open"
            and isinstance(arguments[0], str)
            and _is_published(Path(arguments[0]).parent)
            and _take(directory / KILL_AFTER_PUBLICATION) is not None
        ):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def obey_clock() -> None:
    """Let the program's wall clock be ahead while a rig wants it; else it is the machine's."""
    named = os.environ.get(DIRECTORY_VARIABLE)
    if named is not None:
        wanted = Path(named) / CLOCK_AHEAD

        class Shifted(datetime):
            """The machine's time, and what was ordered."""

            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
                """The instant that the program takes for the present one."""
                try:
                    ahead = float(wanted.read_text())
                except (OSError, ValueError):
                    ahead = 0.0
                return datetime.now(tz) + timedelta(seconds=ahead)

        for reader in (clock, apscheduler.schedulers.base, apscheduler.executors.base):
            vars(reader)["datetime"] = Shifted  # a clock that jumps is the fault


def _fill_up(data_dir: Path) -> None:
    """Leave no room, nor in the database's log, which would take the registration as well."""
    fill_up(data_dir)
    with suppress(sqlite3.Error), closing(sqlite3.connect(data_dir / "sage-sleep.db")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    fill_up(data_dir)


def _is_published(path: Path) -> bool:
    return path.parent.parent.name == "checkpoints" and not path.parent.name.startswith(".")


def _take(path: Path) -> str | None:
    """An order's text, which nobody else gets; None without one."""
    try:
        text = path.read_text()
        path.unlink()
    except FileNotFoundError:
        return None
    return text
