"""The scale that an adapter is published at: the largest at which nothing is forgotten or made up.

Of the gate it knows the checks that a scale can change, since a smaller adapter has to be saved
before it can be judged. Must not know the order of a cycle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from app.artifacts.bases import base_name
from app.domain.gate import (
    Check,
    GatePolicy,
    held_out_checks,
    invention_check,
    retention_checks,
    session_retention_checks,
    update_check,
)
from app.domain.plan import TrainingJob
from app.domain.report import HeldOutLoss, Retention, ScaleTrial
from app.training.dreams import Dreams
from app.training.evaluate import held_out_loss, measure_retention, token_log_probabilities
from app.training.loop import TrainingLoop
from app.training.lora import rescaling, save_adapter
from app.training.measures import Measured, Yardsticks
from app.training.update_norm import update_norm


@dataclass(frozen=True, kw_only=True, slots=True)
class ChosenScale:
    """The scale that an adapter is published at, and what it measures there."""

    scale: float
    held_out: HeldOutLoss
    retention: Retention
    in_session: Retention
    trials: tuple[ScaleTrial, ...]
    update_norm: float


def choose_scale(
    job: TrainingJob,
    loop: TrainingLoop,
    yardsticks: Yardsticks,
    base: Measured,
    before: torch.Tensor,
    trained: torch.Tensor | None,
    dreams: Dreams | None,
) -> ChosenScale:
    """Find the largest scale of B at which nothing is forgotten or made up, and save it so.

    Args:
        before: Held-out log-probabilities before training.
        trained: The same with the adapter as it was trained, where they are known already.

    The smaller ones are tried only where the larger ones fail, and not where the adapter broke the
    model (`GatePolicy.broken_kl`, `update_norm`). Where all fail, it stays as it was trained, and
    the gate rejects it.
    """
    moved = update_norm(loop.adapted, job.parent_adapter)
    is_sound = update_check(moved, job.gate).is_passed
    started_at = held_out_loss(before, yardsticks.held_out)
    trials: list[ScaleTrial] = []
    measured: dict[float, Retention] = {}
    with rescaling(loop.adapted) as rescale:
        for scale in job.gate.scales:
            rescale(scale)
            after = (
                trained
                if trained is not None and scale == 1.0
                else token_log_probabilities(loop.base, yardsticks.held_out)
            )
            held_out = held_out_loss(after, yardsticks.held_out)
            retention = measure_retention(loop.base, yardsticks.bare)
            measured[scale] = in_session = measure_retention(loop.base, yardsticks.in_session)
            checks = (
                *held_out_checks(started_at, held_out, job.gate),
                *retention_checks(base.retention, retention, job.gate),
                *session_retention_checks(base.in_session, in_session, job.gate),
                *_invention(loop, dreams, job.gate),
            )
            failed = tuple(check.name for check in checks if not check.is_passed)
            trials.append(
                ScaleTrial(
                    scale=scale,
                    held_out=held_out,
                    retention=retention,
                    session_retention=in_session,
                    failed=failed,
                )
            )
            # Not `>`: a KL that is NaN is broken, too.
            is_broken = not retention.general_kl.value <= job.gate.broken_kl
            if not failed or is_broken or not is_sound:
                break
        chosen = next((trial for trial in trials if not trial.failed), trials[0])
        rescale(chosen.scale)
    if chosen.scale != 1.0:  # at 1 the training itself has saved it, to the same bytes
        save_adapter(loop.adapted, job.output_directory, base_name=base_name(job.base_model))
    return ChosenScale(
        scale=chosen.scale,
        held_out=chosen.held_out,
        retention=chosen.retention,
        in_session=measured[chosen.scale],
        trials=tuple(trials),
        update_norm=moved,
    )


def _invention(loop: TrainingLoop, dreams: Dreams | None, policy: GatePolicy) -> tuple[Check, ...]:
    """Half of an adapter that answers whatever is asked makes up less than half as much."""
    if dreams is None or math.isnan(dreams.invented_base):
        return ()
    return (invention_check(dreams.invented_base, dreams.invented_by(loop.base), policy),)
