"""Children of a cycle that go wrong in one way each: `python -m tests.worker.children WAY ID`."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from app.cli.daemon import run_child
from app.domain.plan import TrainingJob
from app.domain.progress import Progress, Stage
from app.domain.report import TrainingReport
from tests.small_disk import fill_up

SLOW_SECONDS = 16.0
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


def stop_within_a_write(speak: Callable[[], None]) -> None:
    """Be stopped while no one else can write."""
    speak()
    other = sqlite3.connect(Path(os.environ["SAGE_DATA_DIR"]) / "sage-sleep.db", timeout=60)
    other.isolation_level = None
    other.execute("BEGIN IMMEDIATE")
    os.kill(os.getpid(), signal.SIGSTOP)


def be_killed(speak: Callable[[], None]) -> None:
    """End as the kernel ends what takes its last memory."""
    speak()
    os.kill(os.getpid(), signal.SIGKILL)


def swell(speak: Callable[[], None]) -> None:
    """Want more memory than there is."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    speak()
    bytearray(2 * ADDRESS_SPACE_BYTES)


def overfill(speak: Callable[[], None]) -> None:
    """Write an adapter that is larger than the disk lets a file be."""
    import torch  # 5 s of a core, which only this way needs
    from safetensors.torch import save_file

    speak()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
    with tempfile.TemporaryDirectory() as directory:
        save_file({"a": torch.zeros(1 << 20)}, f"{directory}/adapter_model.safetensors")


def fill_disk(speak: Callable[[], None]) -> None:
    """Be writing when the disk of the whole data directory has no byte left."""
    speak()
    data_dir = Path(os.environ["SAGE_DATA_DIR"])
    fill_up(data_dir)
    (data_dir / "adapter_model.safetensors").write_bytes(b"\0" * 4096)


WAYS = {
    "hang": hang,
    "plod": plod,
    "stop_within_a_write": stop_within_a_write,
    "be_killed": be_killed,
    "swell": swell,
    "overfill": overfill,
    "fill_disk": fill_disk,
}

if __name__ == "__main__":
    run_child(sys.argv[2], lambda: BadTrainer(WAYS[sys.argv[1]]))
