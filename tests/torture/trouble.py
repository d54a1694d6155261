"""What befalls a rig beside the kills: a second daemon, full disks, a stopped child, a wrong clock.

Each passes again by itself. What did not hold while it lasted is raised in words (`NotHeld`), and
how often a fault met what it was meant for is counted; whether all is well afterwards is looked at
as after a kill (`tests.torture.invariants`).
"""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

from app.worker.lock_watch import holds_write_lock
from tests.patience import pace
from tests.small_disk import fill_up, mount_disk, unmount_disk
from tests.support import run_command
from tests.torture import faults, invariants

WANTING_DISKS = frozenset({"full", "scratch"})
DISK_MEGABYTES = 768
SCRATCH_MEGABYTES = 2
PUBLICATION_SECONDS = 6.0
"""How long a full disk waits for the next publication."""

SWEPT_SECONDS = 20.0
"""How long what was published and not registered may lie about, once there is room again."""

SEEN_SECONDS = 8.0
"""How long a clock that is ahead waits for upkeep to look at it."""

IN_A_WRITE_SECONDS = 8.0
"""How long a child is waited for, stopped and let go on until it stands within a write."""

HELD_SECONDS = 8.0
"""How long it stands there: longer than the supervisor bears, and than posts wait for the lock."""

PAGE_BYTES = 4096
AHEAD_SECONDS = 400 * 86400.0

Children = Callable[[], Sequence[psutil.Process]]


class NotHeld(Exception):
    """A promise that a fault showed to be none."""


class Trouble:
    """The faults of one data directory.

    Args:
        environment: The daemon's; what a fault needs to be felt is added to it.

    Attributes:
        struck: How often a fault met what it was meant for.
    """

    def __init__(self, data_dir: Path, environment: MutableMapping[str, str]) -> None:
        self._data_dir = data_dir
        self._environment = environment
        self._orders = data_dir.with_name(f"{data_dir.name}-orders")
        self.scratch = data_dir.with_name(f"{data_dir.name}-scratch")
        self._other = data_dir.with_name(f"{data_dir.name}-other")
        self.struck: Counter[str] = Counter()
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
                (self.scratch, SCRATCH_MEGABYTES),
            ):
                if mount_disk(path, megabytes=megabytes, inodes=100_000):
                    mounted.callback(unmount_disk, path)
                else:
                    has_disks = False
            self.scratch.mkdir(exist_ok=True)
            scratch = str(self.scratch)
            self._environment.update({"TMPDIR": scratch, "SQLITE_TMPDIR": scratch})
            yield has_disks

    def happen(self, kind: str, draw: random.Random, *, children: Children) -> None:
        """Let one fault begin and pass. Raises: NotHeld."""
        match kind:
            case "second":
                self._start_second()
            case "full":
                self._fill_at_publication(draw, children)
            case "scratch":
                self._fill_scratch(draw)
            case "stopped":
                self._stop_for_a_while(children, draw)
            case "clock":
                self._set_clock_ahead(draw)
            case _:
                raise ValueError(f"there is no fault {kind!r}")

    def _start_second(self) -> None:
        environment = {
            **self._environment,
            "SAGE_DATA_DIR": str(self._other),
            "SAGE_DATABASE_URL": f"sqlite:///{self._data_dir / 'sage-sleep.db'}",
            "SAGE_PORT": "0",
        }
        said = run_command("serve", environment=environment, check=False)
        words = " ".join(said.stderr.split())
        if said.returncode != 1 or "runs on the database" not in words:
            raise NotHeld(f"a second daemon ended with {said.returncode}: {words[-500:]}")
        self.struck["second daemon refused"] += 1

    def _fill_at_publication(self, draw: random.Random, children: Children) -> None:
        """Let the disk be full from the next publication on, for a moment.

        What was published then has no row, and goes before the next cycle begins.
        """
        disk = str(self._data_dir)
        waiting = faults.order(self._orders, faults.FULL_AT_PUBLICATION, disk)
        ends_at = time.monotonic() + PUBLICATION_SECONDS
        while waiting.exists() and time.monotonic() < ends_at:
            time.sleep(0.02)
        try:
            waiting.unlink()
        except FileNotFoundError:
            self._await_full(children)
            time.sleep(draw.uniform(0.5, 2.5))
        (self._data_dir / "filler").unlink(missing_ok=True)
        published = invariants.list_unregistered(self._data_dir)
        ends_at = time.monotonic() + SWEPT_SECONDS * pace()
        while published := published & invariants.list_unregistered(self._data_dir):
            if time.monotonic() > ends_at:
                raise NotHeld(f"published, not registered and not deleted: {sorted(published)}")
            time.sleep(0.1)

    def _await_full(self, children: Children) -> None:
        """Wait until the child that took the order has filled the disk, unless it ends."""
        is_full = self._orders / faults.IS_FULL
        while not is_full.exists() and children():
            time.sleep(0.05)
        if is_full.exists():
            self.struck["full at a publication"] += 1
            is_full.unlink()

    def _set_clock_ahead(self, draw: random.Random) -> None:
        """Let the clock be ahead until upkeep has looked at it and done what it then does."""
        ahead = faults.order(self._orders, faults.CLOCK_AHEAD, str(AHEAD_SECONDS))
        ends_at = time.monotonic() + SEEN_SECONDS
        while time.monotonic() < ends_at:
            if invariants.is_clock_seen_ahead(self._data_dir):
                self.struck["clock ahead at upkeep"] += 1
                break
            time.sleep(0.1)
        time.sleep(draw.uniform(0.5, 2.0))
        ahead.unlink()

    def _fill_scratch(self, draw: random.Random) -> None:
        filler = fill_up(self.scratch)
        time.sleep(draw.uniform(0.5, 3.0))
        filler.unlink()

    def _stop_for_a_while(self, children: Children, draw: random.Random) -> None:
        """Stop the child where it stands, in a write if it comes to one, then let it go on or die.

        One that stands in a write keeps all posts waiting until the supervisor has ended it.
        """
        ends_at = time.monotonic() + IN_A_WRITE_SECONDS
        while not (found := children()) and time.monotonic() < ends_at:
            time.sleep(0.1)
        with suppress(psutil.NoSuchProcess):
            held = [_stop_in_a_write(child, draw, ends_at=ends_at) for child in found]
            if any(held):
                self.struck["stopped in a write"] += 1
                time.sleep(HELD_SECONDS)
            else:
                time.sleep(draw.uniform(0.2, 3.0))
        end = signal.SIGCONT if draw.random() < 0.5 else signal.SIGKILL
        for child in found:
            with suppress(psutil.NoSuchProcess):
                child.send_signal(end)


def damage_pages(database: Path, draw: random.Random) -> None:
    """Overwrite one page in twenty, the first excepted, behind SQLite's back."""
    pages = database.stat().st_size // PAGE_BYTES
    with database.open("r+b") as file:
        for number in draw.sample(range(1, pages), max(1, pages // 20)):
            file.seek(number * PAGE_BYTES)
            file.write(b"\xff" * PAGE_BYTES)


def _stop_in_a_write(child: psutil.Process, draw: random.Random, *, ends_at: float) -> bool:
    """Stop a process, again and again until it stands within a write; returns whether it does."""
    while True:
        child.send_signal(signal.SIGSTOP)
        while child.status() not in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}:
            time.sleep(0.001)
        if holds_write_lock(child.pid):
            return True
        if time.monotonic() > ends_at:
            return False
        child.send_signal(signal.SIGCONT)
        time.sleep(draw.uniform(0.0, 0.01))
