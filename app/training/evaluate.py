"""Measure a model: held-out loss, general knowledge, replies to probes, effect of an adapter.

Everything here is deterministic and changes no weight. Must not know how the model was trained.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence

import torch

from app.domain.measurement import Measurement, mean_per_token
from app.domain.replies import SeededReply
from app.domain.report import HeldOutLoss, Retention
from app.training.anchors import (
    References,
    ReferenceSet,
    general_prompts,
    kl_to_base,
    log_probabilities,
)
from app.training.chat import ChatEncoder
from app.training.examples import TrainingExample, count_targets, targets_of
from app.training.generation import TEMPERATURE, Draw, continue_prompts
from app.training.loading import BaseModel
from app.training.loss import losses_of
from app.training.precision import fp32_forward
from app.training.states import supervised_states

REPLY_TOKENS = 40
"""Of a probe's reply, at most: enough to show a loop of a few words. A guess."""

REPLY_SEEDS = (0, 1, 2)
"""So that one unlucky draw is not the gate's word on a model. A guess."""

MEASURED_ANCHORS = 10
"""Of the 40, the first so many are measured on; the recipe rehearses all."""


def token_log_probabilities(
    base: BaseModel, examples: Sequence[TrainingExample], *, by_hand: bool = True
) -> torch.Tensor:
    """Log-probability of every supervised token, float32 (N,) on the CPU.

    In the order of the examples and their positions, so that two calls with the same examples can
    be compared token by token.

    Args:
        by_hand: See `supervised_states`.
    """
    found = []
    with torch.no_grad():
        for example, states in zip(
            examples, supervised_states(base, examples, by_hand=by_hand), strict=True
        ):
            found.append(-losses_of(base.model, states, targets_of(example)).cpu())
    return torch.cat(found) if found else torch.empty(0)


def exact_log_probabilities(base: BaseModel, examples: Sequence[TrainingExample]) -> torch.Tensor:
    """`token_log_probabilities` in fp32, whatever the model's dtype; see `fp32_forward`."""
    with fp32_forward(base.model):
        return token_log_probabilities(base, examples, by_hand=False)


def held_out_loss(
    log_probabilities: torch.Tensor, examples: Sequence[TrainingExample]
) -> HeldOutLoss:
    """Loss in nats per supervised token; a mean of 0 over 0 tokens where nothing is held out."""
    mean = _per_token(-log_probabilities, examples)
    return HeldOutLoss(
        nats_per_token=mean.value,
        tokens=len(log_probabilities),
        experiences=len(examples),
        standard_error=mean.standard_error,
        median_nats=median_nats(log_probabilities),
    )


def median_nats(log_probabilities: torch.Tensor) -> float:
    """Median loss of the tokens, nats; no number of none."""
    found = log_probabilities.double()
    return -float(found.median()) if len(found) else math.nan


def held_out_gain(
    before: torch.Tensor, after: torch.Tensor, examples: Sequence[TrainingExample]
) -> Measurement:
    """By how much the loss fell, with the error of that difference: each token is its own pair."""
    return _per_token(after - before, examples)


def effect_nats(before: torch.Tensor, after: torch.Tensor) -> float:
    """Mean absolute change of the same tokens' log-probabilities, nats; 0 for no token."""
    return float((after - before).abs().double().mean()) if len(before) else 0.0


def measure_retention(base: BaseModel, references: References) -> Retention:
    """Measure what the model, adapter attached or not, still has of its base's knowledge.

    Asked as the references were: bare, or in session.
    """
    anchor_loss, anchor_kl = _compare(base, references.anchors.first(MEASURED_ANCHORS))
    general_loss, general_kl = _compare(base, references.general)
    return Retention(
        anchor_loss=anchor_loss,
        anchor_kl=anchor_kl,
        general_loss=general_loss,
        general_kl=general_kl,
    )


def base_retention(references: References) -> Retention:
    """The bare base's own values, from what is kept of it: its KL to itself is 0."""
    none = Measurement(value=0.0, standard_error=0.0)
    anchors = references.anchors.first(MEASURED_ANCHORS)
    return Retention(
        anchor_loss=_mean_of_tokens(anchors.nll),
        anchor_kl=none,
        general_loss=_mean_of_tokens(references.general.nll),
        general_kl=none,
    )


def probe_replies(
    base: BaseModel,
    encoder: ChatEncoder,
    probe_prompts: Sequence[str],
    *,
    seeds: Sequence[int] = REPLY_SEEDS,
) -> tuple[SeededReply, ...]:
    """Reply to the fixed probes and endings at every seed, and to `probe_prompts` greedily.

    At most `REPLY_TOKENS` tokens each; all rows go through the model together.
    """
    wanted: list[tuple[str, int | None]] = [(prompt, None) for prompt in probe_prompts]
    fixed = (*general_prompts().probes, *general_prompts().endings)
    wanted += [(prompt, seed) for prompt in fixed for seed in seeds]
    ends = base.end_ids | encoder.end_ids
    written = continue_prompts(
        base.model,
        [Draw(prompt=tuple(encoder.encode_prompt(prompt)), seed=seed) for prompt, seed in wanted],
        new_tokens=REPLY_TOKENS,
        end_ids=ends,
    )
    texts = [base.tokenizer.decode(ids, skip_special_tokens=True) for ids in written]
    return tuple(
        SeededReply(
            prompt=prompt,
            seed=seed,
            text=str(text).strip(),
            has_ended=bool(ids) and ids[-1] in ends,
        )
        for (prompt, seed), ids, text in zip(wanted, written, texts, strict=True)
    )


def replies_key(base: BaseModel, encoder: ChatEncoder, probe_prompts: Sequence[str]) -> str:
    """What replies depend on besides the model's weights, as a short hash."""
    prompts = [*probe_prompts, *general_prompts().probes, *general_prompts().endings]
    facts = [
        base.numbers,
        base.device.type,
        sorted(base.end_ids | encoder.end_ids),
        REPLY_TOKENS,
        REPLY_SEEDS,
        TEMPERATURE,
        len(probe_prompts),
        [encoder.encode_prompt(prompt) for prompt in prompts],
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _compare(base: BaseModel, reference: ReferenceSet) -> tuple[Measurement, Measurement]:
    """Loss and KL to the base on a set's answers."""
    losses, divergences = [], []
    with torch.no_grad():
        # One pass for both: the states give the loss and, beside the kept ones, the divergence.
        states = supervised_states(base, reference.examples)
        for example, hidden, base_hidden in zip(
            reference.examples, states, reference.hidden, strict=True
        ):
            targets = targets_of(example).to(hidden.device).unsqueeze(1)
            found = log_probabilities(base.model, hidden).gather(1, targets).squeeze(1)
            losses.append(-found.cpu())
            divergences.append(kl_to_base(base.model, base_hidden, hidden).cpu())
    return _mean_of_tokens(losses), _mean_of_tokens(divergences)


def _mean_of_tokens(values: Sequence[torch.Tensor]) -> Measurement:
    return mean_per_token(
        [float(part.double().sum()) for part in values], [len(part) for part in values]
    )


def _per_token(values: torch.Tensor, examples: Sequence[TrainingExample]) -> Measurement:
    parts = torch.split(values, [count_targets(example) for example in examples])
    return _mean_of_tokens(parts)
