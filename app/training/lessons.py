"""Which of a teacher's lessons a cycle trains on: those whose answers the exchange makes likely.

    margin = mean_t log p(a_t | exchange, question) - mean_t log p(a_t | question)

in nats per token of the answer, both by the bare base. An answer that the exchange does not make
likelier is the teacher's own, or is known without having been told. Must not know databases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from app.domain.experience import TrainingExchange, Turn
from app.domain.lessons import as_exchange, plan_lessons
from app.errors import ExchangeUnfit
from app.training.chat import ChatEncoder
from app.training.evaluate import token_log_probabilities
from app.training.examples import TrainingExample, count_targets, make_example
from app.training.loading import BaseModel

LESSON_MARGIN = 0.3
"""Nats per token. A guess."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SoundLesson:
    """A lesson that may be trained on, and the exchange that it is of."""

    source: TrainingExchange
    answer: str
    example: TrainingExample


def find_sound(
    base: BaseModel, encoder: ChatEncoder, exchanges: Sequence[TrainingExchange]
) -> tuple[SoundLesson, ...]:
    """The lessons of these exchanges that pass, in rounds.

    Args:
        base: Without an adapter: one that has learned a lesson no longer needs the exchange.

    What does not fit the model's room is left out.
    """
    found: list[SoundLesson] = []
    shown: list[TrainingExample] = []
    for source, lesson in plan_lessons(exchanges):
        asked = as_exchange(source, lesson)
        told = (Turn(role="user", content=source.prompt),
                Turn(role="assistant", content=source.response))  # fmt: skip
        try:
            example = make_example(asked, encoder)
            with_told = make_example(replace(asked, history=told), encoder)
        except ExchangeUnfit:
            continue
        # Equally many, unless the template writes the last reply in another way behind a history.
        if count_targets(example) == count_targets(with_told):
            found.append(SoundLesson(source=source, answer=lesson.answer, example=example))
            shown.append(with_told)
    without = _means(base, [one.example for one in found])
    behind = _means(base, shown)
    return tuple(
        one
        for one, alone, told_mean in zip(found, without, behind, strict=True)
        if told_mean - alone >= LESSON_MARGIN
    )


def _means(base: BaseModel, examples: Sequence[TrainingExample]) -> list[float]:
    """Mean log-probability of each answer, nats per token."""
    lengths = [count_targets(example) for example in examples]
    parts = torch.split(token_log_probabilities(base, examples), lengths)
    return [float(part.double().mean()) for part in parts]
