"""Cross-entropy on supervised tokens only, without ever holding the logits of the others.

A SAGE example has about 260 tokens of which half are supervised, and a vocabulary of 49 to 152
thousand: whole-sequence logits in fp32 are the largest thing in memory by far. Here the hidden
states of the supervised positions go through the output layer in chunks, and the gradient for the
hidden states is made in the same pass (as in Liger-Kernel, arXiv:2410.10989). Must not know
adapters, batches' origin or optimisers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from app.training.batches import Batch
from app.training.chat import IGNORED_LABEL
from app.training.decoder import FusedDecoder
from app.training.packing import pack_rows

CHUNK_TOKENS = 128
"""Rows of logits alive at once: 13 MB in bf16 for SmolLM2, 39 MB for Qwen2.5; twice that in fp32.
256 multiply at 372 GFLOP/s instead of 326 and take twice the memory at the peak of a step."""

IS_HEAD_NARROW = True
"""Whether training takes the softmax of narrow logits in their own dtype; see `_narrow_step`."""

WIDE_ROWS = 8192
"""Rows of the output layer that are widened to fp32 at once, where hidden states are fp32."""

_LOGIT_CHANGES = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier")
"""Configuration entries of models whose logits are more than `W h`: Gemma, Cohere, Granite, ..."""


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
    fused: FusedDecoder | None = None,
) -> SupervisedLoss:
    """Forward a right-padded batch and take the loss of its supervised tokens.

    Args:
        model: The causal LM itself (not PEFT's wrapper), adapters injected or not.
        batch: On the model's device.
        example_weights: float (B,), every token's weight by its example; None for 1.
        fused: The model's blocks by hand; None for the model's own forward pass.
    """
    targets = batch["labels"][:, 1:]
    rows, positions = (targets != IGNORED_LABEL).nonzero(as_tuple=True)
    if fused is None:
        # No attention mask: padding stands on the right, where causal attention never looks.
        decoder = model.get_decoder()  # type: ignore[no-untyped-call]
        hidden = decoder(input_ids=batch["input_ids"], use_cache=False).last_hidden_state
        chosen = hidden[rows, positions]
    else:
        lengths = batch["attention_mask"].sum(dim=1).tolist()
        packing = pack_rows([ids[:n] for ids, n in zip(batch["input_ids"], lengths, strict=True)])
        chosen = fused.hidden_states(packing, packing.index(rows, positions))
    labels = targets[rows, positions]
    weights = (
        torch.ones(len(rows), device=chosen.device)
        if example_weights is None
        else example_weights.to(chosen.device, torch.float32)[rows]
    )
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if type(head) is nn.Linear and not _changes_logits(model):
        total, nll = _chunked(chosen, head, labels, weights)
    else:
        logits = _transformed_logits(model, head, chosen)
        losses = functional.cross_entropy(logits.float(), labels, reduction="none")
        total, nll = (losses * weights).sum(), losses.detach()
    return SupervisedLoss(total=total, nll=nll, rows=rows)


def _chunked(
    hidden: torch.Tensor, head: nn.Linear, labels: torch.Tensor, weights: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    result: tuple[torch.Tensor, torch.Tensor] = _ChunkedCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden, head.weight, head.bias, labels, weights
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
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden (N, H), weight (V, H), labels (N,), weights (N,) -> scalar, nll (N,)."""
        needs_gradient = ctx.needs_input_grad[0]
        gradient = torch.empty_like(hidden) if needs_gradient else None
        is_narrow = IS_HEAD_NARROW and hidden.dtype == weight.dtype != torch.float32
        nll = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        for start in range(0, len(hidden), CHUNK_TOKENS):
            part = slice(start, start + CHUNK_TOKENS)
            if gradient is not None and is_narrow:
                nll[part], gradient[part] = _narrow_step(
                    hidden[part], weight, bias, labels[part], weights[part]
                )
                continue
            logits = _logits(hidden[part], weight, bias)
            log_norm = logits.logsumexp(dim=-1)
            wanted = labels[part].unsqueeze(1)
            nll[part] = log_norm - logits.gather(1, wanted).squeeze(1)
            if gradient is not None:
                probabilities = logits.sub_(log_norm.unsqueeze(1)).exp_()
                probabilities.scatter_add_(
                    1, wanted, torch.full_like(wanted, -1, dtype=torch.float32)
                )
                probabilities.mul_(weights[part].unsqueeze(1))
                gradient[part] = probabilities.to(hidden.dtype) @ weight
        ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(nll)
        return (nll * weights).sum(), nll

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Scale the gradient that the forward pass made."""
        (gradient,) = ctx.saved_tensors
        return gradient * outputs[0].to(gradient.dtype), None, None, None, None


def _narrow_step(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    labels: torch.Tensor,
    weights: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss (n,) and gradient (n, H) of a chunk for training, in the narrow dtype.

    One fused softmax instead of six passes over fp32 logits: 256 tokens of SmolLM2 spend 9 ms
    beside 84 ms of products, where `float` alone took 17 and `log_softmax` in fp32 41 ms. The loss
    is that of a probability rounded to 8 bits, by arithmetic 0.002 nats; evaluation is exact.
    """
    rows = torch.arange(len(labels), device=labels.device)
    probabilities = torch.softmax(functional.linear(hidden, weight, bias), dim=-1)
    nll = -probabilities[rows, labels].float().log()
    probabilities[rows, labels] -= 1
    return nll, (probabilities @ weight).mul_(weights.to(hidden.dtype).unsqueeze(1))


def _logits(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """float32 (N, V). Hidden states wider than the weights get fp32 products, block by block."""
    if hidden.dtype == weight.dtype:
        return functional.linear(hidden, weight, bias).float()
    blocks = [
        hidden @ weight[start : start + WIDE_ROWS].to(hidden.dtype).T
        for start in range(0, len(weight), WIDE_ROWS)
    ]
    logits = torch.cat(blocks, dim=-1)
    return logits if bias is None else logits + bias.to(logits.dtype)


def _changes_logits(model: PreTrainedModel) -> bool:
    return any(getattr(model.config, name, None) is not None for name in _LOGIT_CHANGES)


def _transformed_logits(
    model: PreTrainedModel, head: nn.Module, hidden: torch.Tensor
) -> torch.Tensor:
    """Logits (N, V) with what the known families do after the output layer."""
    config = model.config
    logits: torch.Tensor = head(hidden)
    if (scale := getattr(config, "logit_scale", None)) is not None:
        logits = logits * scale
    if (divisor := getattr(config, "logits_scaling", None)) is not None:
        logits = logits / divisor
    if (factor := getattr(config, "lm_head_multiplier", None)) is not None:
        logits = logits * factor
    if (cap := getattr(config, "final_logit_softcapping", None)) is not None:
        logits = torch.tanh(logits / cap) * cap
    return logits
