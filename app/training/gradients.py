"""A batch through the model: its loss, and the gradients of the adapter's parameters.

On a CPU by hand where the model's decoder is one that is written out (`by_hand.stack`), else by
autograd through the model's own forward pass; elsewhere as in `accelerated`. Each cuts a batch into
parts whose gradients add up to the batch's, so that only one part's activations are alive. Must not
know optimisers or epochs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from app.training.anchors import kl_to_base
from app.training.batches import Batch, even_parts, move_batch, pad_batch, split_by_tokens
from app.training.by_hand.packing import FILLED_TO, Packing, common_prefix
from app.training.by_hand.stack import BaseStates, Labels, Stack, loss_and_gradients
from app.training.examples import TrainingExample, targets_of
from app.training.lanes import Lanes
from app.training.loading import BaseModel, pad_token_of
from app.training.loss import predicting_states, supervised_loss
from app.training.states import pack_examples

KEPT_BYTES = 200_000_000
"""Activations kept for the backward pass of one part of a batch: 640 tokens of SmolLM2-135M, 320
of the Qwen2.5-0.5B geometry. A part costs more per token the fewer rows share its prefix: with room
for a whole batch of 4 (`twice_as_much_kept` in the benchmark) training was 4 and 9 % faster and
took 220 MB more at the peak."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Beside:
    """References that stand beside a batch: `w sum_t KL(base || model)` over their answers.

    Attributes:
        hidden: Of each example the base's last hidden states (N, H), as anchors keep them.
        weight: w, of every supervised token.
    """

    examples: Sequence[TrainingExample]
    hidden: Sequence[torch.Tensor]
    weight: float


class Gradients(Protocol):
    """How the parameters that learn get their gradients."""

    def add_step(
        self, examples: Sequence[TrainingExample], weights: torch.Tensor, beside: Sequence[Beside]
    ) -> float:
        """Add the gradients of `sum_t w_t nll_t` over the supervised tokens, and of what is beside.

        Args:
            weights: float32 (B,), of every supervised token of an example.

        Returns:
            The unweighted sum of the losses, in nats, of the examples alone.
        """


class _InTurn(ABC):
    """The examples first, then what stands beside them. Each method adds, and none resets."""

    def add_step(
        self, examples: Sequence[TrainingExample], weights: torch.Tensor, beside: Sequence[Beside]
    ) -> float:
        """See `Gradients`."""
        nll = self.add_cross_entropy(examples, weights)
        for one in beside:
            self.add_divergence(one.examples, one.hidden, one.weight)
        return nll

    @abstractmethod
    def add_cross_entropy(
        self, examples: Sequence[TrainingExample], weights: torch.Tensor
    ) -> float:
        """Add the gradients of `sum_t w_t nll_t`; return the unweighted sum, in nats."""

    @abstractmethod
    def add_divergence(
        self,
        examples: Sequence[TrainingExample],
        hidden: Sequence[torch.Tensor],
        weight: float,
    ) -> float:
        """Add the gradients of `w sum_t KL(base || model)`; return the unweighted sum, in nats."""


class AutogradGradients(_InTurn):
    """Through the model's own forward pass."""

    def __init__(self, base: BaseModel) -> None:
        self._base = base

    def add_cross_entropy(
        self, examples: Sequence[TrainingExample], weights: torch.Tensor
    ) -> float:
        """See `_InTurn`."""
        nll = 0.0
        for rows, part in self._parts(examples):
            loss = supervised_loss(self._base.model, part, example_weights=weights[rows])
            # Adds to the gradients that are there: those of the parts make up the batch's.
            loss.total.backward()  # type: ignore[no-untyped-call]
            nll += float(loss.nll.double().sum())
        return nll

    def add_divergence(
        self,
        examples: Sequence[TrainingExample],
        hidden: Sequence[torch.Tensor],
        weight: float,
    ) -> float:
        """See `_InTurn`."""
        total = 0.0
        for rows, part in self._parts(examples):
            expected = torch.cat([hidden[row] for row in rows]).to(self._base.device)
            states, _targets, _rows = predicting_states(self._base.model, part)
            kl = kl_to_base(self._base.model, expected, states).sum()
            (kl * weight).backward()  # type: ignore[no-untyped-call]
            total += float(kl.detach())
        return total

    def _parts(self, examples: Sequence[TrainingExample]) -> Iterator[tuple[list[int], Batch]]:
        pad = pad_token_of(self._base.tokenizer)
        for rows in split_by_tokens([len(example["input_ids"]) for example in examples]):
            yield rows, move_batch(pad_batch([examples[i] for i in rows], pad), self._base.device)


class StackGradients(_InTurn):
    """Through the hand-written decoder, on a CPU."""

    def __init__(self, stack: Stack, lanes: Lanes) -> None:
        self._stack = stack
        self._lanes = lanes

    def add_cross_entropy(
        self, examples: Sequence[TrainingExample], weights: torch.Tensor
    ) -> float:
        """See `_InTurn`."""
        total = 0.0
        for rows in self._parts(examples):
            part = [examples[i] for i in rows]
            packing, owners, wanted = pack_examples(part)
            labels = torch.cat([targets_of(example) for example in part])
            targets = Labels(wanted=wanted, weights=weights[rows][owners], labels=labels)
            total += self._add(packing, targets)
        return total

    def add_divergence(
        self,
        examples: Sequence[TrainingExample],
        hidden: Sequence[torch.Tensor],
        weight: float,
    ) -> float:
        """See `_InTurn`."""
        total = 0.0
        for rows in self._parts(examples):
            packing, owners, wanted = pack_examples([examples[i] for i in rows])
            expected = torch.cat([hidden[row] for row in rows])
            weights = torch.full((len(owners),), weight)
            total += self._add(packing, BaseStates(wanted=wanted, weights=weights, hidden=expected))
        return total

    def _parts(self, examples: Sequence[TrainingExample]) -> list[list[int]]:
        rows = [example["input_ids"] for example in examples]
        prefix = common_prefix(rows)
        return even_parts(
            [len(row) - prefix for row in rows],
            shared=prefix,
            # In whole steps of what a packing is filled up to.
            limit=KEPT_BYTES // self._stack.kept_bytes(FILLED_TO) * FILLED_TO,
        )

    def _add(self, packing: Packing, targets: Labels | BaseStates) -> float:
        losses, gradients = loss_and_gradients(self._stack, packing, targets, self._lanes)
        for parameter, gradient in zip(self._stack.parameters(), gradients, strict=True):
            # The first is taken as it is: these tensors were made for this call alone.
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
        return float(losses.double().sum())
