"""Exchanges as training examples: token ids, labels, and what is known of each.

Must not know batches, models or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import torch

from app.domain.experience import TrainingExchange, Unfit
from app.errors import ExchangeUnfit
from app.training.chat import IGNORED_LABEL, ChatEncoder


class TrainingExample(TypedDict):
    """One example of a training set; the three tensors are int64 (T,).

    Attributes:
        labels: -100 where no loss is taken.
        attention_mask: Ones; padding comes with `prepare_batch`.
        salience: Total, 0..1.
        salience_breakdown: The five components.
        session: As the source has it: a number in the older buffers, text in the daemon.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    attention_mask: torch.Tensor
    salience: float
    salience_breakdown: dict[str, float]
    experience_id: str
    session: int | str | None
    phase: str | None


def make_example(exchange: TrainingExchange, encoder: ChatEncoder) -> TrainingExample:
    """Encode one exchange. Raises: ExchangeUnfit."""
    encoded = encoder.encode(exchange)
    input_ids = torch.tensor(encoded.input_ids)
    return TrainingExample(
        input_ids=input_ids,
        labels=torch.tensor(encoded.labels),
        attention_mask=torch.ones_like(input_ids),
        salience=exchange.salience.total,
        salience_breakdown=exchange.salience.components(),
        experience_id=exchange.experience_id,
        session=exchange.session,
        phase=exchange.phase,
    )


def make_examples(
    exchanges: Sequence[TrainingExchange], encoder: ChatEncoder
) -> tuple[list[TrainingExample], list[Unfit]]:
    """Encode what can be encoded, in order, and name the rest: one exchange stops no other."""
    examples: list[TrainingExample] = []
    unfit: list[Unfit] = []
    for exchange in exchanges:
        try:
            examples.append(make_example(exchange, encoder))
        except ExchangeUnfit as error:
            unfit.append(
                Unfit(experience_id=exchange.experience_id, code=error.code, text=error.message)
            )
    return examples, unfit


def targets_of(example: TrainingExample) -> torch.Tensor:
    """The supervised token ids, int64 (N,), in the order of `supervised_states`."""
    labels = example["labels"][1:]
    return labels[labels != IGNORED_LABEL]


def count_targets(example: TrainingExample) -> int:
    """Tokens that loss is taken on; the first has no predecessor to be predicted from."""
    return int((example["labels"][1:] != IGNORED_LABEL).sum())
