"""The output layer's losses and their gradients, a few tokens at a time.

Whole-sequence logits in fp32 are the largest thing in memory by far, with a vocabulary of 49 to 152
thousand: here only `CHUNK_TOKENS` rows of them are alive at once, and the gradient for the hidden
states is made in the same pass (as in Liger-Kernel, arXiv:2410.10989). The layer is frozen. Must
not know models or batches.
"""

from __future__ import annotations

import torch
from torch.nn import functional

CHUNK_TOKENS = 64
"""Rows of logits alive at once, on each lane: 6 MB in bf16 for SmolLM2, 19 MB for Qwen2.5; twice
that in fp32. 128 are no faster with one core to a lane, and take twice the memory."""

SHAPE_MULTIPLE = 16
"""The last rows are filled up with zeros to a multiple of this; see
`app.training.by_hand.packing.FILLED_TO`."""

IS_HEAD_NARROW = True
"""Whether training takes the softmax of narrow logits in their own dtype; see `_narrow_step`."""

WIDE_ROWS = 8192
"""Rows of the output layer that are widened to fp32 at once, where hidden states are fp32."""


def cross_entropy(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    labels: torch.Tensor,
    weights: torch.Tensor,
    *,
    gradient: torch.Tensor | None = None,
    chunk_tokens: int = CHUNK_TOKENS,
) -> torch.Tensor:
    """`nll_t = logsumexp(W h_t) - (W h_t)[label_t]`, float32 (N,).

    Args:
        hidden: (N, H); `weight` (V, H), `labels` int64 (N,).
        weights: float32 (N,), of each token in the loss.
        gradient: Receives `w_t (softmax(W h_t) - onehot(label_t)) W`, (N, H); None for the loss
            alone, which is then exact in fp32 whatever the dtype.
        chunk_tokens: Rows of logits alive at once.
    """
    is_narrow = IS_HEAD_NARROW and hidden.dtype == weight.dtype != torch.float32
    nll = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
    for start in range(0, len(hidden), chunk_tokens):
        part = slice(start, start + chunk_tokens)
        chunk = (hidden[part], weight, bias, labels[part])
        if gradient is None:
            nll[part] = _loss(*chunk)
        elif is_narrow:
            nll[part], gradient[part] = _narrow_step(*chunk, weights[part])
        else:
            nll[part], gradient[part] = _wide_step(*chunk, weights[part])
    return nll


def divergence(
    hidden: torch.Tensor,
    expected: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    weights: torch.Tensor,
    *,
    gradient: torch.Tensor,
) -> torch.Tensor:
    """`KL(p || q_t)` of p = softmax(W e_t) and q = softmax(W h_t), float32 (N,), in nats.

    Args:
        hidden: (N, H), of the model.
        expected: (N, H), of the base.
        weights: float32 (N,), of each token in the loss.
        gradient: Receives `w_t (q_t - p_t) W`, (N, H).
    """
    kl = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
    for start in range(0, len(hidden), CHUNK_TOKENS):
        part = slice(start, start + CHUNK_TOKENS)
        q = torch.log_softmax(_logits(hidden[part], weight, bias), dim=-1)
        p = torch.log_softmax(_logits(expected[part], weight, bias), dim=-1)
        # In this order, since `p.sub_(q)` and `sub_` below write over what they read: tensors of
        # (64, V) are the largest of a step.
        q_minus_p = q.exp()
        probabilities = p.exp()
        kl[part] = (probabilities * p.sub_(q)).sum(dim=-1)
        q_minus_p.sub_(probabilities).mul_(weights[part].unsqueeze(1))
        gradient[part] = _product(q_minus_p.to(hidden.dtype), weight)
    return kl


def _loss(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, labels: torch.Tensor
) -> torch.Tensor:
    logits = _logits(hidden, weight, bias)
    return logits.logsumexp(dim=-1) - logits.gather(1, labels.unsqueeze(1)).squeeze(1)


def _wide_step(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    labels: torch.Tensor,
    weights: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss (n,) and gradient (n, H) of a chunk, with the softmax in fp32."""
    rows = torch.arange(len(labels), device=labels.device)
    log_probabilities = torch.log_softmax(_logits(hidden, weight, bias), dim=-1)
    nll = -log_probabilities[rows, labels]
    # In place, and onehot by one subtraction a row: no second (n, V) is made.
    probabilities = log_probabilities.exp_()
    probabilities[rows, labels] -= 1
    probabilities.mul_(weights.unsqueeze(1))
    return nll, _product(probabilities.to(hidden.dtype), weight)


def _narrow_step(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    labels: torch.Tensor,
    weights: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss (n,) and gradient (n, H) of a chunk, with the softmax in the narrow dtype.

    One fused softmax instead of six passes over fp32 logits: 256 tokens of SmolLM2 spend 9 ms
    beside 84 ms of products, where `float` alone took 17 and `log_softmax` in fp32 41 ms. The loss
    is that of a probability rounded to 8 bits, by arithmetic 0.002 nats; evaluation is exact.
    """
    rows = torch.arange(len(labels), device=labels.device)
    logits = functional.linear(_filled(hidden), weight, bias)
    probabilities = torch.softmax(logits, dim=-1, out=logits)
    # bf16 has the range of fp32: a probability is 0, and the loss infinite, from 87 nats on.
    nll = -probabilities[rows, labels].float().log()
    probabilities[rows, labels] -= 1
    gradient = (probabilities @ weight)[: len(labels)]
    # Weighted after the product, on (n, H) in place of (n, V).
    return nll, gradient.mul_(weights.to(hidden.dtype).unsqueeze(1))


def _logits(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """float32 (N, V). Hidden states wider than the weights get fp32 products, block by block."""
    if hidden.dtype == weight.dtype:
        return functional.linear(_filled(hidden), weight, bias)[: len(hidden)].float()
    # The layer widened as a whole would be 113 MB for SmolLM2, 544 MB for Qwen2.5.
    blocks = [
        hidden @ weight[start : start + WIDE_ROWS].to(hidden.dtype).T
        for start in range(0, len(weight), WIDE_ROWS)
    ]
    logits = torch.cat(blocks, dim=-1)
    return logits if bias is None else logits + bias.to(logits.dtype)


def _product(d_logits: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return (_filled(d_logits) @ weight)[: len(d_logits)]


def _filled(rows: torch.Tensor) -> torch.Tensor:
    filling = -len(rows) % SHAPE_MULTIPLE
    return functional.pad(rows, (0, 0, 0, filling)) if filling else rows
