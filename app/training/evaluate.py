"""Measure a model: held-out loss, effect of an adapter, replies to fixed prompts.

Everything here is deterministic and changes no weight. Must not know how the model was trained.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from app.domain.gate import HeldOutLoss
from app.training.batches import TrainingExample, move_batch, pad_batch
from app.training.chat import ChatEncoder
from app.training.data import pad_token_of
from app.training.loading import BaseModel
from app.training.loss import supervised_loss

EVALUATION_BATCH_SIZE = 4
REPLY_TOKENS = 48


def token_log_probabilities(base: BaseModel, examples: Sequence[TrainingExample]) -> torch.Tensor:
    """Log-probability of every supervised token, float32 (N,) on the CPU.

    In the order of the examples and their positions, so that two calls with the same examples can
    be compared token by token.
    """
    model = base.model
    was_training = model.training
    model.train(False)
    by_length = sorted(range(len(examples)), key=lambda i: (len(examples[i]["input_ids"]), i))
    found: dict[int, torch.Tensor] = {}
    with torch.no_grad():
        for start in range(0, len(by_length), EVALUATION_BATCH_SIZE):
            members = by_length[start : start + EVALUATION_BATCH_SIZE]
            batch = pad_batch([examples[i] for i in members], pad_token_of(base.tokenizer))
            loss = supervised_loss(model, move_batch(batch, base.device))
            for row, index in enumerate(members):
                found[index] = -loss.nll[loss.rows == row].cpu()
    model.train(was_training)
    return torch.cat([found[i] for i in range(len(examples))]) if examples else torch.empty(0)


def held_out_loss(log_probabilities: torch.Tensor, *, experiences: int) -> HeldOutLoss:
    """Mean loss in nats per supervised token; 0 over 0 tokens where nothing is held out."""
    tokens = len(log_probabilities)
    return HeldOutLoss(
        nats_per_token=float(-log_probabilities.double().mean()) if tokens else 0.0,
        tokens=tokens,
        experiences=experiences,
    )


def effect_nats(before: torch.Tensor, after: torch.Tensor) -> float:
    """Mean absolute change of the same tokens' log-probabilities, nats; 0 for no token."""
    return float((after - before).abs().double().mean()) if len(before) else 0.0


def greedy_replies(
    base: BaseModel, encoder: ChatEncoder, prompts: Sequence[str]
) -> tuple[str, ...]:
    """The model's most likely reply to each prompt, cut after `REPLY_TOKENS` tokens."""
    model = base.model
    was_training = model.training
    model.train(False)
    replies = []
    with torch.no_grad():
        for prompt in prompts:
            ids = torch.tensor([encoder.encode_prompt(prompt)], device=base.device)
            generated = model.generate(  # type: ignore[operator]
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=REPLY_TOKENS,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                pad_token_id=pad_token_of(base.tokenizer),
                eos_token_id=base.tokenizer.eos_token_id,
            )
            reply = base.tokenizer.decode(generated[0, ids.shape[1] :], skip_special_tokens=True)
            replies.append(str(reply).strip())
    model.train(was_training)
    return tuple(replies)
