"""Cross-entropy on supervised tokens only, through a model's own forward pass and autograd.

A SAGE example has about 260 tokens of which half are supervised: the hidden states of the others
never reach the output layer. Must not know adapters, batches' origin or optimisers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from app.training.batches import Batch
from app.training.chat import IGNORED_LABEL
from app.training.head import cross_entropy
from app.training.logits import CHUNK_TOKENS, decoder_of, is_plain, logits_of


@dataclass(frozen=True, kw_only=True, slots=True)
class SupervisedLoss:
    """Losses of the N supervised tokens of a batch, in order of row and position.

    Attributes:
        total: Scalar with gradient: `sum_t w_t nll_t`.
        nll: float32 (N,), nats, detached.
        rows: int64 (N,), the example of the batch that each token belongs to.
    """

    total: torch.Tensor
    nll: torch.Tensor
    rows: torch.Tensor


def supervised_loss(
    model: PreTrainedModel,
    batch: Batch,
    *,
    example_weights: torch.Tensor | None = None,
) -> SupervisedLoss:
    """Forward a right-padded batch and take the loss of its supervised tokens.

    Args:
        model: The causal LM itself (not PEFT's wrapper), adapters injected or not.
        batch: On the model's device.
        example_weights: float (B,), every token's weight by its example; None for 1.
    """
    chosen, labels, rows = predicting_states(model, batch)
    weights = (
        torch.ones(len(rows), device=chosen.device)
        if example_weights is None
        else example_weights.to(chosen.device, torch.float32)[rows]
    )
    if is_plain(model):
        head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
        total, nll = _chunked(chosen, head, labels, weights)
    else:
        total, nll = _InChunks.apply(  # type: ignore[no-untyped-call]
            chosen, partial(_own_losses, model), (labels,), weights, CHUNK_TOKENS
        )
    return SupervisedLoss(total=total, nll=nll, rows=rows)


def losses_of(model: PreTrainedModel, states: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Losses float32 (N,) in nats of tokens int64 (N,) that states (N, H) predict, exact in fp32.

    Without gradient.
    """
    labels = labels.to(states.device)
    if is_plain(model):
        head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
        weights = torch.ones(len(labels), device=states.device)
        return cross_entropy(states, head.weight, head.bias, labels, weights)
    with torch.no_grad():
        parts = [_own_losses(model, states[part], labels[part]) for part in _parts(len(labels))]
    return torch.cat(parts) if parts else states.new_zeros(0, dtype=torch.float32)


def states_loss(
    model: PreTrainedModel,
    states: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor,
    *,
    chunk_tokens: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`sum_t w_t nll_t` with gradient, and `sum_t nll_t`, of tokens that states (N, H) predict."""
    if is_plain(model):
        head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
        total, nll = _chunked(states, head, labels, weights, chunk_tokens)
    else:
        total, nll = _InChunks.apply(  # type: ignore[no-untyped-call]
            states, partial(_own_losses, model), (labels,), weights, chunk_tokens
        )
    return total, nll.sum()


def states_divergence(
    model: PreTrainedModel,
    states: torch.Tensor,
    expected: torch.Tensor,
    weights: torch.Tensor,
    *,
    chunk_tokens: int,
) -> torch.Tensor:
    """`sum_t w_t KL(p_t || q_t)` with gradient; p of the expected states (N, H)."""

    def kl(own: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        q = torch.log_softmax(logits_of(model, own), dim=-1)
        with torch.no_grad():
            p = torch.log_softmax(logits_of(model, base), dim=-1)
        return functional.kl_div(q, p, reduction="none", log_target=True).sum(dim=-1)

    total, _kl = _InChunks.apply(states, kl, (expected,), weights, chunk_tokens)  # type: ignore[no-untyped-call]
    return total  # type: ignore[no-any-return]


def predicting_states(
    model: PreTrainedModel, batch: Batch
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Run the decoder, and pick the states that predict the supervised tokens.

    Returns:
        The states (N, H), the tokens int64 (N,), and their rows int64 (N,), in order of row and
        position.
    """
    targets = batch["labels"][:, 1:]
    rows, positions = (targets != IGNORED_LABEL).nonzero(as_tuple=True)
    # No attention mask: padding stands on the right, where causal attention never looks.
    hidden = decoder_of(model)(input_ids=batch["input_ids"], use_cache=False).last_hidden_state
    # Chosen before the output layer, whose (B, T, V) would be the largest tensor by far.
    return hidden[rows, positions], targets[rows, positions], rows


def _chunked(
    hidden: torch.Tensor,
    head: nn.Linear,
    labels: torch.Tensor,
    weights: torch.Tensor,
    chunk_tokens: int = CHUNK_TOKENS,
) -> tuple[torch.Tensor, torch.Tensor]:
    result: tuple[torch.Tensor, torch.Tensor] = _ChunkedCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden, head.weight, head.bias, labels, weights, chunk_tokens
    )
    return result


class _ChunkedCrossEntropy(torch.autograd.Function):
    """`sum_t w_t (logsumexp(W h_t) - (W h_t)[label_t])` for a frozen W.

    Gradient: `dL/dh_t = w_t (softmax(W h_t) - onehot(label_t)) W`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        labels: torch.Tensor,
        weights: torch.Tensor,
        chunk_tokens: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden (N, H), weight (V, H), labels (N,), weights (N,) -> scalar, nll (N,)."""
        # Made in the forward pass, since the logits are gone when backward comes.
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        nll = cross_entropy(
            hidden, weight, bias, labels, weights, gradient=gradient, chunk_tokens=chunk_tokens
        )
        ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(nll)
        return (nll * weights).sum(), nll

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Scale the gradient that the forward pass made."""
        (gradient,) = ctx.saved_tensors
        return gradient * outputs[0].to(gradient.dtype), None, None, None, None, None


class _InChunks(torch.autograd.Function):
    """`sum_t w_t f(h_t, x_t)` of what the model makes of the states by itself.

    Gradient: by autograd through f, `chunk_tokens` rows at a time.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        make: Callable[..., torch.Tensor],
        beside: tuple[torch.Tensor, ...],
        weights: torch.Tensor,
        chunk_tokens: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden (N, H), beside (N, ...) each, weights (N,) -> scalar, f (N,)."""
        gradient = torch.empty_like(hidden)
        found = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        for part in _parts(len(hidden), chunk_tokens):
            with torch.enable_grad():
                states = hidden[part].detach().requires_grad_()
                losses = make(states, *(one[part] for one in beside))
                (gradient[part],) = torch.autograd.grad((losses * weights[part]).sum(), states)
            found[part] = losses.detach()
        ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(found)
        return (found * weights).sum(), found

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Scale the gradient that the forward pass made."""
        (gradient,) = ctx.saved_tensors
        return gradient * outputs[0].to(gradient.dtype), None, None, None, None


def _own_losses(model: PreTrainedModel, states: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(logits_of(model, states), labels, reduction="none")


def _parts(length: int, chunk_tokens: int = CHUNK_TOKENS) -> list[slice]:
    return [slice(start, start + chunk_tokens) for start in range(0, length, chunk_tokens)]
