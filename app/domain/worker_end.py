"""How a worker's process ended without settling its cycle, and what that means for a person."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from app.domain.events import EventType

DISK_FULL_EXIT = 28
"""Exit code of a worker whose disk is too full even to say so in the database (ENOSPC)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerEnd:
    """The end of a worker that nobody asked to stop.

    Attributes:
        exit_code: As `subprocess` gives it: below zero for a signal.
        silent_seconds: For how long the worker had given no sign when it was killed for that.
        held_seconds: For how long it had kept the database from all others, likewise.
    """

    exit_code: int
    silent_seconds: float | None = None
    held_seconds: float | None = None

    @property
    def code(self) -> str:
        """What a cycle that ended so has as its error's code."""
        if self.silent_seconds is not None or self.held_seconds is not None:
            return "worker-stalled"
        if self.exit_code == DISK_FULL_EXIT:
            return "disk-full"
        return "worker-killed" if self.exit_code == -signal.SIGKILL else "worker-died"

    @property
    def event_type(self) -> EventType:
        """The event that says so."""
        return EventType(f"sleep_cycle.{self.code.replace('-', '_')}")

    @property
    def message(self) -> str:
        """What happened, and what helps."""
        if self.held_seconds is not None:
            return (
                f"The training process did not come out of a write for {self.held_seconds:.0f} s, "
                "which kept all others from writing, and was killed: it was stopped, or its disk "
                "does not answer."
            )
        if self.silent_seconds is not None:
            return (
                f"The training process gave no sign for {self.silent_seconds:.0f} s and was "
                "killed; SAGE_STALL_SECONDS sets how long a step may take."
            )
        if self.exit_code == -signal.SIGKILL:
            return (
                "The training process was killed from outside (SIGKILL), as the kernel does where "
                "memory runs out: lower SAGE_BATCH_SIZE or SAGE_MAX_LENGTH, or free memory."
            )
        if self.exit_code == DISK_FULL_EXIT:
            return "The disk had no room left; free some, and see `sage-sleep prune`."
        return f"The training process died (exit {self.exit_code})."
