"""A cycle's curves as TensorBoard files, where that package is there (extra `tensorboard`).

Written once, from the report, when the cycle has been judged: numbers only, no text of anyone.
"""

from __future__ import annotations

import math
from pathlib import Path

from app.domain.gate import Verdict
from app.domain.recipe import Recipe
from app.domain.report import TrainingReport
from app.training.schedule import learning_rate_factor


def write_curves(directory: Path, report: TrainingReport, verdict: Verdict, recipe: Recipe) -> None:
    """Write loss and learning rate by step, held-out loss by epoch, and the gate's values.

    Args:
        directory: Of this cycle alone; TensorBoard shows each as a run.

    Raises: ImportError where TensorBoard is not installed; OSError.
    """
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  # an extra

    epochs = max(len(report.validation_curve), 1)
    steps_per_epoch = len(report.loss_curve) / epochs
    # A training that ended early followed the curve of the whole one.
    planned = round(steps_per_epoch * max(recipe.epochs, epochs))
    warmup = math.ceil(recipe.warmup_ratio * planned)
    with SummaryWriter(str(directory)) as writer:
        for step, loss in enumerate(report.loss_curve, start=1):
            writer.add_scalar("train/loss", loss, step)
            rate = recipe.learning_rate * learning_rate_factor(step, planned, warmup)
            writer.add_scalar("train/learning_rate", rate, step)
        writer.add_scalar("held_out/loss", report.held_out_before.nats_per_token, 0)
        for epoch, loss in enumerate(report.validation_curve, start=1):
            writer.add_scalar("held_out/loss", loss, round(epoch * steps_per_epoch))
        for check in verdict.checks:
            writer.add_scalar(f"gate/{check.name}", check.value, len(report.loss_curve))
