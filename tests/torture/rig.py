"""One data directory under torture: a daemon, its traffic, and the kills.

A rig ends as an unattended machine does: nobody looks at its files or helps it to start.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from tests.patience import pace, seconds_left
from tests.support import free_port, run_command
from tests.torture import invariants
from tests.torture.traffic import INSTANCES, Traffic
from tests.torture.trouble import WANTING_DISKS, NotHeld, Trouble, damage_pages

START_SECONDS = 60.0
CHILD_END_SECONDS = 10.0
"""A child may be in the middle of its imports when its daemon dies; it ends once they are done."""

DRAIN_SECONDS = 10.0
"""What issue and README promise of SIGTERM."""

DAMAGE_SECONDS = 5.0
"""How long the daemon has for coming across a damaged page."""

THOROUGH_EVERY = 10
SAID_EVERY = 50
KINDS = {"daemon": 3, "child": 4, "both": 2, "term": 2, "starting": 1}
"""What is killed, and how often."""

FAULTS = {"second": 1, "full": 2, "scratch": 1, "stopped": 1, "clock": 1, "corrupt": 0.5}
"""What happens between the kills, and how often; see `tests.torture.trouble`.

A corrupt page is what a person must put right: the rig does, as the guide says.
"""

QUICK_SETTINGS = {
    "SAGE_MASS_THRESHOLD": "1.5",
    "SAGE_MIN_EXPERIENCES": "3",
    "SAGE_MAX_EXPERIENCES": "256",
    "SAGE_MIN_SALIENCE": "0.2",
    "SAGE_MIN_INTERVAL_SECONDS": "0",
    "SAGE_IDLE_SECONDS": "0",
    "SAGE_SCHEDULER_INTERVAL_SECONDS": "0.5",
    "SAGE_PROBE_PROMPTS": "[]",
    # Upkeep may run, since a clock that jumps brings it forward, and lets none of these go.
    "SAGE_RETAIN_CHECKPOINTS": "0",
    # By the clock that jumps ahead all that is no longer needed is older than that.
    "SAGE_RETAIN_TEXT_DAYS": "30",
}


@dataclass
class Outcome:
    """What came of a rig; `broken` names what did not hold, and the kill it followed."""

    kills: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    left_out: str = ""
    broken: list[str] = field(default_factory=list)
    lost: int = 0
    doubled: int = 0
    left_behind: int = 0
    consumed_twice: int = 0
    half_checkpoints: int = 0
    manual_steps: int = 0
    acknowledged: int = 0
    cycles: Counter[str] = field(default_factory=Counter)
    slowest_start_seconds: float = 0.0
    slowest_drain_seconds: float = 0.0
    slowest_child_end_seconds: float = 0.0


class Rig:
    """A data directory, the daemon on it and what is done to both.

    Args:
        module: Run with `python -m` as the daemon.
        lull_seconds: Least and most time between two kills.
        faults: Which of `FAULTS` happen; those that want a disk, only for root.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        seed: str,
        module: str = "tests.torture.daemon",
        settings: Mapping[str, str] = QUICK_SETTINGS,
        lull_seconds: tuple[float, float] = (0.0, 3.0),
        faults: Collection[str] = tuple(FAULTS),
    ) -> None:
        self._data_dir = data_dir
        self._draw = random.Random(seed)  # noqa: S311  # a seeded draw, no secret
        self._module = module
        self._lull_seconds = lull_seconds
        port = free_port()
        self._url = f"http://127.0.0.1:{port}"
        self._environment = {
            **os.environ,
            "SAGE_DATA_DIR": str(data_dir),
            "SAGE_PORT": str(port),
            "SAGE_CHILD_NICENESS": "0",
            **settings,
        }
        self._log_path = data_dir.with_name(f"{data_dir.name}.log")
        self._trouble = Trouble(data_dir, self._environment)
        self._weights = KINDS | {kind: FAULTS[kind] for kind in faults}
        self._traffic = Traffic(self._url, seed=seed)
        self._daemon: subprocess.Popen[bytes] | None = None
        self.outcome = Outcome()

    def run(self, kills: int, *, settle_seconds: float = 240.0) -> Outcome:
        """Kill so often, then let everything come to rest and look at it all once more."""
        with self._trouble.disks() as has_disks:
            if not has_disks:
                self.outcome.left_out = ", ".join(sorted(WANTING_DISKS & set(self._weights)))
                self._weights = {k: w for k, w in self._weights.items() if k not in WANTING_DISKS}
            return self._run(kills, settle_seconds)

    def _run(self, kills: int, settle_seconds: float) -> Outcome:
        run_command("migrate", environment={"SAGE_DATA_DIR": str(self._data_dir)})
        try:
            self._torture(kills, settle_seconds)
        finally:
            if self._daemon is not None:
                self._daemon.kill()
                self._daemon.wait()
        for found in self._traffic.unexpected:
            self._break(f"answer: {found}")
        self.outcome.acknowledged = len(self._traffic.acknowledged)
        self.outcome.cycles = invariants.count_cycles(self._data_dir)
        self.outcome.struck += self._trouble.struck + invariants.count_ends(self._data_dir)
        self.outcome.struck += invariants.count_said(self._log_path)
        return self.outcome

    def _torture(self, kills: int, settle_seconds: float) -> None:
        self._start()
        self._make_instances()
        self._traffic.start()
        try:
            for number in range(1, kills + 1):
                kind = self._draw.choices([*self._weights], [*self._weights.values()])[0]
                if kind == "corrupt":
                    self._corrupt(number)
                elif kind in FAULTS:
                    self._let_happen(kind, number)
                else:
                    self._kill(kind, number)
                self.outcome.kills[kind] += 1
                if number % SAID_EVERY == 0:
                    print(
                        f"{self._data_dir.name}: {number} of {kills}", file=sys.stderr, flush=True
                    )
            self._await_success(settle_seconds)
        finally:
            self._traffic.stop()
        self._settle(settle_seconds)
        self._end_daemon(signal.SIGTERM)
        names = invariants.published_names(self._data_dir / "checkpoints")
        self._start()
        self._check("the end", names, is_thorough=True)
        self._end_daemon(signal.SIGTERM)
        left = invariants.list_left_behind(self._data_dir, self._trouble.scratch)
        self.outcome.left_behind += len(left)
        if left:
            self._break(f"left behind at the end: {left}")

    def _kill(self, kind: str, number: int) -> None:
        """One kill and, where the daemon went, its next start and the look at what is left."""
        daemon = self._running()
        if kind == "starting":  # the daemon is killed, and once more before it is up again
            self._end_daemon(signal.SIGKILL)
            self._spawn()
            time.sleep(self._draw.uniform(0.0, 2.5))
            daemon = self._running()
        else:
            time.sleep(self._draw.uniform(*self._lull_seconds))
        children = self._children()
        if kind == "child":
            for child in children:
                _kill_process(child)
            if daemon.poll() is not None:
                self._break(f"kill {number}: the daemon died with the child")
                self._start()
            return
        if kind == "both":
            for child in children:
                _kill_process(child)
        self._end_daemon(signal.SIGTERM if kind == "term" else signal.SIGKILL)
        # Half of the starts come at once, while the old child may still be there.
        if self._draw.random() < 0.5:
            self._demand_no_children(f"kill {number} ({kind})")
            names = invariants.published_names(self._data_dir / "checkpoints")
        else:
            names = set()
        self._start()
        what = f"kill {number} ({kind})"
        self._check(what, names, is_thorough=number % THOROUGH_EVERY == 0)

    def _let_happen(self, kind: str, number: int) -> None:
        """One fault that passes again by itself, beside a daemon that lives through it."""
        time.sleep(self._draw.uniform(*self._lull_seconds))
        what = f"kill {number} ({kind})"
        try:
            self._trouble.happen(kind, self._draw, children=self._children)
        except NotHeld as found:
            self._break(f"{what}: {found}")
        if self._running().poll() is not None:
            self._break(f"{what}: the daemon died of it")
            self._start()
        self._check(what, set(), is_thorough=False)

    def _corrupt(self, number: int) -> None:
        """Damage the database under posts: once that is seen none is acknowledged; then restore.

        What was acknowledged since the backup went with the database, as the guide says.
        """
        what = f"kill {number} (corrupt)"
        kept = dict(self._traffic.acknowledged)
        backup = self._data_dir.with_name(f"{self._data_dir.name}-backup-{number}")
        own = {"SAGE_DATA_DIR": str(self._data_dir)}
        run_command("backup", str(backup), environment=own)
        damage_pages(self._data_dir / "sage-sleep.db", self._draw)
        if self._is_damage_seen():
            self.outcome.struck["damage seen"] += 1
            time.sleep(1.0)  # what was under way when it was seen
            self._demand_no_posts(what)
            if self._draw.random() < 0.5:  # an init system starts it again, which mends nothing
                self._end_daemon(signal.SIGKILL)
                self._spawn()
                self._demand_no_posts(f"{what}, started again")
        else:
            self.outcome.struck["damage not met"] += 1
        self._end_daemon(signal.SIGKILL)
        self._demand_no_children(what)
        self._traffic.acknowledged = kept
        run_command("restore", "--replace", str(backup), environment=own)
        for aside in (backup, *self._data_dir.glob("replaced-*")):
            shutil.rmtree(aside)
        self._start()
        self._check(what, set(), is_thorough=True)

    def _demand_no_posts(self, what: str) -> None:
        before = len(self._traffic.acknowledged)
        time.sleep(3.0)
        if len(self._traffic.acknowledged) > before:
            self._break(f"{what}: posts are acknowledged although the database is damaged")

    def _is_damage_seen(self) -> bool:
        deadline = time.monotonic() + DAMAGE_SECONDS
        while time.monotonic() < deadline:
            answer = httpx.get(f"{self._url}/readyz", timeout=30)
            if "damaged" in answer.json()["checks"]["database"]:
                return True
            time.sleep(0.1)
        return False

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._daemon is not None
        return self._daemon

    def _spawn(self) -> None:
        with self._log_path.open("ab") as log:
            self._daemon = subprocess.Popen(
                [sys.executable, "-m", self._module, *(["serve"] if self._module == "app" else [])],
                env=self._environment,
                stdout=log,
                stderr=log,
            )

    def _start(self) -> None:
        """Start the daemon as an init system does: again, if it does not come up."""
        started = time.monotonic()
        while True:
            self._spawn()
            if self._is_up(time.monotonic() + START_SECONDS * pace()):
                break
            self._running().kill()
            self._running().wait()
            self.outcome.manual_steps += 1
            self._break(f"the daemon did not start:\n{self._log_path.read_text()[-2000:]}")
            if time.monotonic() - started > 2 * START_SECONDS * pace():
                raise TimeoutError("the daemon does not start any more")
        taken = time.monotonic() - started
        self.outcome.slowest_start_seconds = max(self.outcome.slowest_start_seconds, taken)

    def _is_up(self, deadline: float) -> bool:
        while time.monotonic() < deadline and self._running().poll() is None:
            try:
                if httpx.get(f"{self._url}/readyz").status_code == 200:
                    return True
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        return False

    def _make_instances(self) -> None:
        for slug in INSTANCES[1:]:
            httpx.put(f"{self._url}/v1/instances/{slug}", json={}).raise_for_status()

    def _end_daemon(self, number: signal.Signals) -> None:
        daemon = self._running()
        started = time.monotonic()
        daemon.send_signal(number)
        daemon.wait(timeout=seconds_left())
        if number is signal.SIGTERM:
            taken = time.monotonic() - started
            self.outcome.slowest_drain_seconds = max(self.outcome.slowest_drain_seconds, taken)
            if taken > DRAIN_SECONDS * pace():
                self._break(f"SIGTERM took {taken:.1f} s")
            self._demand_no_children("SIGTERM", at_once=True)

    def _children(self) -> list[psutil.Process]:
        """Training children on this data directory, whoever's they are now."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            command = process.info["cmdline"] or []
            if not {"tests.torture.child", "run-cycle"} & set(command):
                continue
            try:
                if process.environ().get("SAGE_DATA_DIR") == str(self._data_dir):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
                continue
        return found

    def _demand_no_children(self, what: str, *, at_once: bool = False) -> None:
        started = time.monotonic()
        _, alive = psutil.wait_procs(self._children(), timeout=CHILD_END_SECONDS * pace())
        taken = time.monotonic() - started
        self.outcome.slowest_child_end_seconds = max(self.outcome.slowest_child_end_seconds, taken)
        if alive or (at_once and taken > pace()):
            self._break(f"{what}: the child outlived the daemon")

    def _await_success(self, timeout_seconds: float) -> None:
        """Few kills may leave no cycle its time; left alone, one must succeed."""
        deadline = time.monotonic() + timeout_seconds * pace()
        while not invariants.count_cycles(self._data_dir)["succeeded"]:
            if time.monotonic() > deadline:
                self._break("no cycle ever succeeded")
                return
            time.sleep(0.3)

    def _settle(self, timeout_seconds: float) -> None:
        """Wait until every cycle that was queued or running has ended; others may have begun."""
        deadline = time.monotonic() + timeout_seconds
        waiting = invariants.active_cycles(self._data_dir)
        while time.monotonic() < deadline:
            waiting &= invariants.active_cycles(self._data_dir)
            if not waiting:
                return
            time.sleep(0.3)
        self._break(f"cycles that did not end: {sorted(waiting)}")

    def _check(self, what: str, names: set[str], *, is_thorough: bool) -> None:
        acknowledged = dict(self._traffic.acknowledged)
        found = invariants.check(
            self._data_dir, acknowledged, published_before=names, is_thorough=is_thorough
        )
        self.outcome.lost = max(self.outcome.lost, len(found.lost))
        self.outcome.doubled = max(self.outcome.doubled, len(found.doubled))
        self.outcome.left_behind += len(found.left_behind)
        self.outcome.consumed_twice = max(self.outcome.consumed_twice, len(found.consumed_twice))
        self.outcome.half_checkpoints += len(found.half_checkpoints)
        if found.is_broken:
            self._break(f"{what}: {found}")

    def _break(self, what: str) -> None:
        self.outcome.broken.append(what[:2000])
        print(
            what[:2000], file=sys.stderr, flush=True
        )  # at once: a long run is looked at meanwhile


def _kill_process(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return  # it ended by itself in this moment
