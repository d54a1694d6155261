"""Whether exchanges fit a base: asked before a cycle is queued, of a process that knows tokenizers.

What is asked and answered crosses a process as JSON (`app.domain.stored`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from app.domain.base_parts import BaseParts
from app.domain.experience import TrainingExchange, Unfit
from app.domain.layers import AdaptedLayers
from app.domain.progress import CycleError
from app.domain.recipe import ALL_LINEAR
from app.domain.reply_parts import Thinking


@dataclass(frozen=True, kw_only=True, slots=True)
class FitQuestion:
    """What a cycle would put before its base; what it rehearses was there before, and is not asked.

    Attributes:
        max_length: Tokens per example, at most.
        target_modules: What a new adapter would change, as `lora_dropout` allows.
        device: Where it would train, on a base that is held as `quantization` says.
        has_parent: It goes on from an adapter, whose layers are its own.
        parent_base_parts: What the base was made of when that one was trained.
    """

    base_model: str
    system_prompt: str
    max_length: int
    thinking: Thinking
    train: tuple[TrainingExchange, ...]
    held_out: tuple[TrainingExchange, ...]
    target_modules: tuple[str, ...] = (ALL_LINEAR,)
    lora_dropout: float = 0.0
    device: str = "auto"
    quantization: str = "auto"
    has_parent: bool = False
    parent_base_parts: BaseParts = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class FitAnswer:
    """What the cycle would set aside.

    Attributes:
        layers: Which layers a new adapter would change; None where that was not looked at.
        error: What it would fail with before it trains, or why nobody could look.
    """

    set_aside: tuple[Unfit, ...] = ()
    layers: AdaptedLayers | None = None
    error: CycleError | None = None
