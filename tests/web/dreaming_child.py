"""The real child of a cycle, with a trainer that takes seconds and tells as the real one does."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from app.cli.daemon import run_child
from app.domain.plan import TrainingJob
from app.domain.progress import Progress, Stage
from app.domain.report import TrainingReport
from app.errors import TrainingStopped
from tests.web.scenery import measured

STEPS = 60
STEP_SECONDS = 0.15
STAGE_SECONDS = 1.5


class DreamingTrainer:
    """Learns nothing, in steps; the loss falls all the same."""

    def run(
        self,
        job: TrainingJob,
        *,
        on_progress: Callable[[Progress], None],
        should_stop: Callable[[], bool],
    ) -> TrainingReport:
        """As `app.training.trainer.Trainer`."""
        on_progress(Progress(stage=Stage.EVALUATING_BEFORE))
        time.sleep(STAGE_SECONDS)
        for step in range(1, STEPS + 1):
            if should_stop():
                raise TrainingStopped(f"stopped before step {step}")
            time.sleep(STEP_SECONDS)
            on_progress(
                Progress(
                    stage=Stage.TRAINING,
                    step=step,
                    total_steps=STEPS,
                    epoch=1 + step * 2 // STEPS,
                    loss=2.6 + 0.9 * 0.95**step + 0.03 * (step % 3),
                    tokens_per_second=310.0 + step % 7,
                )
            )
        (job.output_directory / "adapter_model.safetensors").write_bytes(b"weights")
        (job.output_directory / "adapter_config.json").write_text("{}")
        on_progress(Progress(stage=Stage.EVALUATING_AFTER, step=STEPS, total_steps=STEPS))
        time.sleep(STAGE_SECONDS)
        return measured(3.0, 2.6, kl=0.01)


if __name__ == "__main__":
    run_child(sys.argv[1], DreamingTrainer)
