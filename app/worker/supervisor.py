"""The supervisor: runs queued cycles one at a time, each in a child process, and buries the dead.

One thread of the daemon. The daemon survives any death of the child; what a dead child left in
the database is settled here, once its exit is known.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from app.clock import utc_now
from app.db.engine import Database
from app.domain.worker_end import WorkerEnd
from app.errors import SageSleepError
from app.log import get_logger
from app.services import cycle_end, cycle_run
from app.worker.lock_watch import holds_write_lock, last_written

# -P: not whatever `app` lies in the directory that the daemon was started in.
CYCLE_COMMAND = (sys.executable, "-P", "-m", "app", "run-cycle")
"""Runs a cycle in a process of its own, given the cycle's id."""

POLL_SECONDS = 0.5
RESTART_DELAY_SECONDS = 0.5
"""Doubled with every start of the same cycle."""

HELD_SECONDS = 5.0
"""A child in one write for so long is stopped or hangs. Its writes take milliseconds, and who waits
for the database's lock meanwhile waits `BUSY_TIMEOUT_SECONDS`, twice as long."""

IDLE_SECONDS = 30.0
"""How long an idle supervisor sleeps between looks; a wake-up cuts it short."""

_log = get_logger(__name__)


class Stopwatch:
    """Time that passed since something changed, as far as this process saw it pass.

    Between two looks at most twice `POLL_SECONDS` count: while the machine is suspended, or this
    process is stopped, the child does nothing either. A clock that jumps does not matter.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looked_at = clock()
        self._seen: object = None
        self.seconds = 0.0

    def look(self, seen: object) -> float:
        """Note what is seen now; returns for how many seconds it has been the same."""
        now = self._clock()
        self.seconds += min(now - self._looked_at, 2 * POLL_SECONDS)
        self._looked_at = now
        if seen != self._seen:
            self._seen = seen
            self.seconds = 0.0
        return self.seconds


class Supervisor:
    """The daemon's one worker slot, alive from `start` to `stop`.

    Args:
        sweep: Deletes what a dead child had not finished; returns the names.
    """

    def __init__(
        self,
        db: Database,
        *,
        child_command: Sequence[str],
        child_environment: Mapping[str, str],
        sweep: Callable[[], Sequence[str]],
        stop_grace_seconds: float,
        stall_seconds: float,
    ) -> None:
        self._db = db
        self._child_command = child_command
        self._child_environment = child_environment
        self._sweep = sweep
        self._stop_grace_seconds = stop_grace_seconds
        self._stall_seconds = stall_seconds
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor")
        self._unsettled: tuple[str, WorkerEnd] | None = None
        self._is_training = False

    @property
    def is_alive(self) -> bool:
        """Whether the worker slot is served."""
        return self._thread.is_alive()

    @property
    def is_training(self) -> bool:
        """Whether a cycle's process runs now."""
        return self._is_training

    def start(self) -> None:
        """Start serving the queue."""
        self._thread.start()

    def wake(self) -> None:
        """Look at the queue now."""
        self._wake.set()

    def begin_stop(self) -> None:
        """Ask for `stop` without waiting; may be called in a signal handler."""
        self._stopping.set()

    def stop(self) -> None:
        """Stop the child, put its cycle back into the queue, and end; waits for all of it."""
        self._stopping.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set() or self._unsettled is not None:
            self._wake.clear()
            try:
                self._settle()
                waiting = cycle_run.find_next_queued(self._db, now=utc_now())
            except SageSleepError as error:
                _log.warning("supervisor.storage_unavailable", error=error.message)
                if self._stopping.wait(POLL_SECONDS):
                    return  # the next start settles what is left
                continue
            if self._stopping.is_set():
                return
            if waiting.cycle_id is None:
                self._wake.wait(min(IDLE_SECONDS, waiting.in_seconds or IDLE_SECONDS))
                continue
            try:
                self._run_child(waiting.cycle_id)
            except OSError as error:  # no memory or no process slot for a child
                _log.warning("worker.not_started", cycle_id=waiting.cycle_id, error=error.strerror)
                self._stopping.wait(IDLE_SECONDS)

    def _run_child(self, cycle_id: str) -> None:
        child = subprocess.Popen(  # noqa: S603  # our own module, an id of our own
            [*self._child_command, cycle_id],
            stdin=subprocess.PIPE,
            env={**os.environ, **self._child_environment},
            # A Ctrl-C in the daemon's terminal reaches the daemon alone, which decides.
            start_new_session=True,
        )
        _log.info("worker.started", cycle_id=cycle_id, pid=child.pid)
        self._is_training = True
        with child:
            end = self._wait(child, cycle_id)
        self._is_training = False
        _log.info("worker.ended", cycle_id=cycle_id, exit_code=end.exit_code)
        self._unsettled = (cycle_id, end)

    def _settle(self) -> None:
        """Settle in the database what the last child left there; kept until it has succeeded."""
        if self._unsettled is None:
            return
        cycle_id, end = self._unsettled
        self._sweep_up(cycle_id)
        if self._stopping.is_set():
            cycle_end.stop_cycle(self._db, cycle_id, worker_id=None, now=utc_now())
        else:
            starts = cycle_end.settle_dead_worker(self._db, cycle_id, end=end, now=utc_now())
            if starts:
                self._stopping.wait(RESTART_DELAY_SECONDS * 2**starts)
        self._unsettled = None

    def _sweep_up(self, cycle_id: str) -> None:
        """Delete what the dead child left unfinished; what cannot go now goes at the next start."""
        try:
            swept = self._sweep()
        except (OSError, SageSleepError) as error:
            _log.warning("worker.not_swept", cycle_id=cycle_id, error=type(error).__name__)
        else:
            if swept:
                _log.warning("worker.swept", cycle_id=cycle_id, swept=swept)

    def _wait(self, child: subprocess.Popen[bytes], cycle_id: str) -> WorkerEnd:
        """Wait for the child's end, and bring it about where a stop, a cancel or silence asks."""
        silence, asked, write = Stopwatch(), Stopwatch(), Stopwatch()
        while True:
            try:
                return WorkerEnd(exit_code=child.wait(timeout=POLL_SECONDS))
            except subprocess.TimeoutExpired:
                pass
            if self._stopping.is_set():
                return WorkerEnd(exit_code=self._end(child))
            is_writing = holds_write_lock(child.pid)
            held_seconds = write.look((is_writing, last_written(self._db.path)))
            if is_writing and held_seconds > HELD_SECONDS:
                _log.error("worker.write_held", cycle_id=cycle_id, seconds=round(held_seconds))
                child.kill()
                return WorkerEnd(exit_code=child.wait(), held_seconds=held_seconds)
            try:
                signs = cycle_run.read_signs(self._db, cycle_id)
            except SageSleepError:
                continue  # looked at again in a moment
            overdue_seconds = asked.look(signs.is_stop_requested)
            if signs.is_stop_requested and overdue_seconds > self._stop_grace_seconds:
                _log.warning("worker.stop_overdue", cycle_id=cycle_id)
                return WorkerEnd(exit_code=self._end(child))
            silent_seconds = silence.look(signs.heartbeat_at)
            if silent_seconds > self._stall_seconds:
                _log.error(
                    "sleep_cycle.stalled", cycle_id=cycle_id, silent_seconds=round(silent_seconds)
                )
                child.kill()
                return WorkerEnd(exit_code=child.wait(), silent_seconds=silent_seconds)

    def _end(self, child: subprocess.Popen[bytes]) -> int:
        """Ask the child to stop, wait for the grace, then kill it."""
        child.terminate()
        deadline = time.monotonic() + self._stop_grace_seconds
        try:
            return child.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            return child.wait()
