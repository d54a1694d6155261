"""Noticing that the wall clock jumped, which jobs planned by it would otherwise wait for.

A machine without a battery-backed clock learns the time from the network, hours after or before
what it believed. A job planned for ten o'clock must not wait five hours because it is five again.
A suspended machine jumps too, on Linux's monotonic clock, which stands still meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from app.clock import utc_now

MAX_DRIFT_SECONDS = 5.0
"""Above what a clock is slewed by, or a busy machine is late; a guess."""


class ClockWatch:
    """A thread that compares the wall clock with the one that only goes forward.

    Args:
        interval_seconds: Between two looks.
        on_jump: Told by how many seconds the wall clock jumped; negative for back.
    """

    def __init__(
        self,
        *,
        interval_seconds: float,
        on_jump: Callable[[float], None],
        wall: Callable[[], float] = lambda: utc_now().timestamp(),
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval_seconds = interval_seconds
        self._on_jump = on_jump
        self._wall = wall
        self._steady = steady
        self._offset = wall() - steady()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clock-watch", daemon=True)

    def start(self) -> None:
        """Start looking."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        self._thread.join()

    def look(self) -> None:
        """Compare the clocks, and tell of a jump once."""
        offset = self._wall() - self._steady()
        jumped = offset - self._offset
        if abs(jumped) > MAX_DRIFT_SECONDS:
            self._on_jump(jumped)
        self._offset = offset

    def _run(self) -> None:
        while not self._stopping.wait(self._interval_seconds):
            self.look()
