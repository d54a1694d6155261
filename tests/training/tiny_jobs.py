"""A whole job on the tiny model, with a gate that lets it through."""

from __future__ import annotations

from pathlib import Path

from app.domain.experience import TrainingExchange
from app.domain.gate import GatePolicy
from app.domain.instance import SAGE_SYSTEM_PROMPT
from app.domain.plan import TrainingJob
from app.domain.recipe import Recipe

LOOSE = GatePolicy(
    general_kl=100.0,
    general_loss_rise=100.0,
    anchor_kl=100.0,
    update_norm=100.0,
    broken_kl=100.0,
)
"""A model of random weights knows nothing that it could forget."""


def make_tiny_job(
    tiny_model: Path,
    exchanges: tuple[TrainingExchange, ...],
    kept_directory: Path,
    output_directory: Path,
) -> TrainingJob:
    """A whole job on the tiny model: nine exchanges to train on, three held out."""
    return TrainingJob(
        base_model=str(tiny_model),
        parent_adapter=None,
        parent_base_sha256=None,
        output_directory=output_directory,
        system_prompt=SAGE_SYSTEM_PROMPT,
        recipe=Recipe(learning_rate=5e-3, r=4, lora_alpha=8),
        train=exchanges[:9],
        held_out=exchanges[9:],
        probe_prompts=("Who are you?",),
        gate=LOOSE,
        kept_directory=kept_directory,
    )
