"""Children of a cycle that go wrong in one way each: `python -m tests.worker.children WAY ID`."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Callable

from app.cli.daemon import run_child
from app.domain.gate import TrainingReport
from app.domain.sleep import Progress, Stage, TrainingJob

SLOW_SECONDS = 12.0
ADDRESS_SPACE_BYTES = 4 << 30


class BadTrainer:
    """Begins to train; what comes then is the way."""

    def __init__(self, way: Callable[[Callable[[], None]], None]) -> None:
        self._way = way

    def run(
        self,
        job: TrainingJob,  # noqa: ARG002
        *,
        on_progress: Callable[[Progress], None],
        should_stop: Callable[[], bool],  # noqa: ARG002
    ) -> TrainingReport:
        """As `app.training.trainer.Trainer`."""
        self._way(lambda: on_progress(Progress(stage=Stage.TRAINING, step=1, total_steps=9)))
        raise ValueError("came to an end")


def hang(speak: Callable[[], None]) -> None:
    """Say something and then no more, whatever is asked."""
    speak()
    time.sleep(3600)


def plod(speak: Callable[[], None]) -> None:
    """Work, slowly, and say so."""
    ends_at = time.monotonic() + SLOW_SECONDS
    while time.monotonic() < ends_at:
        speak()
        time.sleep(0.2)


def be_killed(speak: Callable[[], None]) -> None:
    """End as the kernel ends what takes its last memory."""
    speak()
    os.kill(os.getpid(), signal.SIGKILL)


def swell(speak: Callable[[], None]) -> None:
    """Want more memory than there is."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    speak()
    bytearray(2 * ADDRESS_SPACE_BYTES)


WAYS = {"hang": hang, "plod": plod, "be_killed": be_killed, "swell": swell}

if __name__ == "__main__":
    run_child(sys.argv[2], lambda: BadTrainer(WAYS[sys.argv[1]]))
