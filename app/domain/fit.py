"""Whether exchanges fit a base: asked before a cycle is queued, of a process that knows tokenizers.

What is asked and answered crosses a process as JSON (`app.domain.stored`).
"""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.experience import TrainingExchange, Unfit
from app.domain.progress import CycleError
from app.domain.reply_parts import Thinking


@dataclass(frozen=True, kw_only=True, slots=True)
class FitQuestion:
    """What a cycle would put before its base; what it rehearses was there before, and is not asked.

    Attributes:
        max_length: Tokens per example, at most.
    """

    base_model: str
    system_prompt: str
    max_length: int
    thinking: Thinking
    train: tuple[TrainingExchange, ...]
    held_out: tuple[TrainingExchange, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class FitAnswer:
    """What the cycle would set aside.

    Attributes:
        error: What it would fail with before it trains, or why nobody could look.
    """

    set_aside: tuple[Unfit, ...] = ()
    error: CycleError | None = None
