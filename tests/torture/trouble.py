"""What befalls a rig beside the kills: a second daemon, full disks, a stopped child, a wrong clock.

Each passes again by itself, and returns in words what did not hold while it lasted; whether all is
well afterwards is looked at as after a kill (`tests.torture.invariants`).
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

from tests.small_disk import fill_up, mount_disk, unmount_disk
from tests.support import run_command
from tests.torture import faults

WANTING_DISKS = frozenset({"full", "scratch"})
DISK_MEGABYTES = 768
SCRATCH_MEGABYTES = 2
PUBLICATION_SECONDS = 4.0
"""How long a full disk waits for the next publication."""

PAGE_BYTES = 4096
AHEAD_SECONDS = 400 * 86400.0

Children = Callable[[], Sequence[psutil.Process]]


class Trouble:
    """The faults of one data directory.

    Args:
        environment: The daemon's; what a fault needs to be felt is added to it.
    """

    def __init__(self, data_dir: Path, environment: MutableMapping[str, str]) -> None:
        self._data_dir = data_dir
        self._environment = environment
        self._orders = data_dir.with_name(f"{data_dir.name}-orders")
        self._scratch = data_dir.with_name(f"{data_dir.name}-scratch")
        self._other = data_dir.with_name(f"{data_dir.name}-other")
        environment[faults.DIRECTORY_VARIABLE] = str(self._orders)

    @contextmanager
    def disks(self) -> Iterator[bool]:
        """Make the places; gives whether data and scratch have disks of their own, to be filled."""
        self._data_dir.parent.mkdir(parents=True, exist_ok=True)
        self._orders.mkdir()
        with ExitStack() as mounted:
            has_disks = True
            for path, megabytes in (
                (self._data_dir, DISK_MEGABYTES),
                (self._scratch, SCRATCH_MEGABYTES),
            ):
                if mount_disk(path, megabytes=megabytes, inodes=100_000):
                    mounted.callback(unmount_disk, path)
                else:
                    has_disks = False
            scratch = str(self._scratch)
            self._environment.update({"TMPDIR": scratch, "SQLITE_TMPDIR": scratch})
            yield has_disks

    def happen(self, kind: str, draw: random.Random, *, children: Children) -> str | None:
        """Let one fault begin and pass; returns what did not hold, or None."""
        match kind:
            case "second":
                return self._start_second()
            case "full":
                self._fill_at_publication(draw)
            case "scratch":
                self._fill_scratch(draw)
            case "stopped":
                _stop_for_a_while(children(), draw)
            case "clock":
                ahead = faults.order(self._orders, faults.CLOCK_AHEAD, str(AHEAD_SECONDS))
                time.sleep(draw.uniform(0.5, 3.0))
                ahead.unlink()
            case _:
                raise ValueError(f"there is no fault {kind!r}")
        return None

    def _start_second(self) -> str | None:
        environment = {
            **self._environment,
            "SAGE_DATA_DIR": str(self._other),
            "SAGE_DATABASE_URL": f"sqlite:///{self._data_dir / 'sage-sleep.db'}",
            "SAGE_PORT": "0",
        }
        said = run_command("serve", environment=environment, check=False)
        words = " ".join(said.stderr.split())
        if said.returncode != 1 or "runs on the database" not in words:
            return f"a second daemon ended with {said.returncode}: {words[-500:]}"
        return None

    def _fill_at_publication(self, draw: random.Random) -> None:
        """Let the disk be full from the next publication on, for a moment."""
        disk = str(self._data_dir)
        waiting = faults.order(self._orders, faults.FULL_AT_PUBLICATION, disk)
        ends_at = time.monotonic() + PUBLICATION_SECONDS
        while waiting.exists() and time.monotonic() < ends_at:
            time.sleep(0.02)
        try:
            waiting.unlink()
        except FileNotFoundError:
            time.sleep(draw.uniform(0.5, 2.5))  # it is full now, or about to be
        (self._data_dir / "filler").unlink(missing_ok=True)

    def _fill_scratch(self, draw: random.Random) -> None:
        filler = fill_up(self._scratch)
        time.sleep(draw.uniform(0.5, 3.0))
        filler.unlink()


def damage_pages(database: Path, draw: random.Random) -> None:
    """Overwrite one page in twenty, the first excepted, behind SQLite's back."""
    pages = database.stat().st_size // PAGE_BYTES
    with database.open("r+b") as file:
        for number in draw.sample(range(1, pages), max(1, pages // 20)):
            file.seek(number * PAGE_BYTES)
            file.write(b"\xff" * PAGE_BYTES)


def _stop_for_a_while(children: Sequence[psutil.Process], draw: random.Random) -> None:
    """Stop the child where it stands, in a write perhaps, and let it go on, or kill it."""
    with suppress(psutil.NoSuchProcess):
        for child in children:
            child.send_signal(signal.SIGSTOP)
    time.sleep(draw.uniform(0.2, 3.0))
    end = signal.SIGCONT if draw.random() < 0.5 else signal.SIGKILL
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.send_signal(end)
