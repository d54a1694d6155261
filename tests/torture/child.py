"""The real child of a cycle, with a trainer of milliseconds instead of one with a model.

What a cycle ends as follows from what it trains on, so that it ends the same however often it was
killed before: one in eight is rejected by the gate, one in eight has a loss that is not finite.
`TORTURE_ALL_WELL` lets each end well.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace

from app.cli.daemon import run_child
from app.domain.plan import TrainingJob
from app.domain.progress import Progress, Stage
from app.domain.report import TrainingReport
from app.errors import NonFiniteLoss, TrainingStopped
from tests.measured import make_training_report
from tests.torture import faults

ALL_WELL_VARIABLE = "TORTURE_ALL_WELL"
STEPS = 24
STEP_SECONDS = 0.015
ADAPTER_BYTES = 300_000


class QuickTrainer:
    """Sleeps for some steps and writes an adapter's files."""

    def run(
        self,
        job: TrainingJob,
        *,
        on_progress: Callable[[Progress], None],
        should_stop: Callable[[], bool],
    ) -> TrainingReport:
        """As `app.training.trainer.Trainer`."""
        ids = [exchange.experience_id for exchange in job.train]
        fate = hashlib.sha256(json.dumps(ids).encode()).digest()
        if ALL_WELL_VARIABLE in os.environ:
            fate = b"\xff" + fate[1:]
        for step in range(1, STEPS + 1):
            if should_stop():
                raise TrainingStopped(f"stopped before step {step}")
            time.sleep(STEP_SECONDS)
            on_progress(Progress(stage=Stage.TRAINING, step=step, total_steps=STEPS))
        if fate[0] % 8 == 0:
            raise NonFiniteLoss("step 24: loss nan")
        weights = (fate * (ADAPTER_BYTES // len(fate) + 1))[:ADAPTER_BYTES]
        (job.output_directory / "adapter_model.safetensors").write_bytes(weights)
        (job.output_directory / "adapter_config.json").write_text("{}")
        on_progress(Progress(stage=Stage.EVALUATING_AFTER, step=STEPS, total_steps=STEPS))
        time.sleep(STEP_SECONDS)
        after = 3.5 if fate[0] % 8 == 1 else 2.5
        return replace(make_training_report(before=3.0, after=after), environment={})


if __name__ == "__main__":
    faults.obey()
    faults.obey_clock()
    run_child(sys.argv[1], QuickTrainer)
