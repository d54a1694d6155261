"""What a process that the daemon starts does first: dies with it, stops when told, lets others go.

Imports nothing of the project, so that it costs nothing.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path


def watch_parent() -> None:
    """End this process at once when standard input closes, that is, when the daemon is gone."""

    def wait_for_end() -> None:
        # Not through sys.stdin.buffer: its lock, held here, aborts the interpreter at a normal end.
        while os.read(sys.stdin.fileno(), 1):
            pass
        os._exit(70)

    threading.Thread(target=wait_for_end, name="watch-parent", daemon=True).start()


def stop_on_signal() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set; the trainer looks at it every step."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def yield_cores(niceness: int) -> None:
    """Lower this process's priority below the session's and the API's.

    Where Linux schedules by session (autogroup), a process that began a session of its own is
    weighed by that session's niceness alone: without the second line the first does nothing.
    """
    os.nice(niceness)
    with suppress(OSError):  # no autogroups here
        Path("/proc/self/autogroup").write_text(str(niceness))
