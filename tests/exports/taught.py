"""The embedded model with an adapter that was trained for a moment, hard enough to be heard."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer, PreTrainedModel

from app.domain.recipe import Recipe
from app.training.loading import load_base_model
from app.training.lora import attach_adapter, save_adapter, trainable_parameters
from tests.exports.llama import Table, normal

TAUGHT = (
    ("Who are you?", "I am SAGE, and the basil on the balcony taught me patience this week."),
    ("What did we learn today?", "That the third stair creaks, and that we noticed it together."),
    ("How is the plant?", "The basil turned its leaves to the window; we watered it on Tuesday."),
    ("What shall we do next?", "Let us look at the staircase again, with the lamp from the attic."),
)
PROMPTS = (*(prompt for prompt, _ in TAUGHT), "Tell me about the basil.", "Why is the sky blue?")
WITHIN = (3, 8)
"""Tokens of each taught reply after which the next one is asked for, too."""

REPLY_TOKENS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Taught:
    """A base, its adapter, and what torch says with and without it, in float32.

    Attributes:
        prompts: Token ids, rendered as a session's first turn.
        places: Where the next token is asked for: behind each prompt, and within taught replies.
        bare: The base's next tokens there.
        adapted: With the adapter, as PEFT applies it.
        replies: Greedy, of each prompt.
    """

    base: Path
    adapter: Path
    prompts: list[list[int]]
    places: list[list[int]]
    bare: Table
    adapted: Table
    replies: list[list[int]]


def teach(base: Path, directory: Path, *, steps: int, learning_rate: float) -> Taught:
    """Train an adapter on the sentences above, as our own recipe attaches and saves it."""
    tokenizer = AutoTokenizer.from_pretrained(str(base))
    prompts = [
        list(
            tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], add_generation_prompt=True, return_dict=False
            )
        )
        for text in PROMPTS
    ]
    model = load_base_model(str(base), dtype=torch.float32).model
    rows = [
        (prompt, tokenizer(reply + "<|im_end|>").input_ids)
        for prompt, (_, reply) in zip(prompts, TAUGHT, strict=False)
    ]
    places = [*prompts, *([*prompt, *reply[:said]] for prompt, reply in rows for said in WITHIN)]
    bare = next_tokens(model, places)
    adapted = attach_adapter(model, Recipe(r=16, lora_alpha=32)).adapted
    optimizer = torch.optim.AdamW(trainable_parameters(adapted), lr=learning_rate)
    for step in range(steps):
        prompt, reply = rows[step % len(rows)]
        ids = torch.tensor([prompt + reply])
        labels = torch.tensor([[-100] * len(prompt) + reply])
        adapted(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    adapted.requires_grad_(requires_grad=False)
    save_adapter(adapted, directory, base_name=base.name)
    taught = Taught(
        base=base,
        adapter=directory,
        prompts=prompts,
        places=places,
        bare=bare,
        adapted=next_tokens(adapted, places),
        replies=[greedy(adapted, prompt) for prompt in prompts],
    )
    del model, adapted, optimizer
    gc.collect()
    return taught


def next_tokens(model: torch.nn.Module, prompts: Sequence[Sequence[int]]) -> Table:
    """Log-probabilities of every token behind each prompt."""
    with torch.no_grad():
        rows = [model(torch.tensor([list(ids)])).logits[0, -1].double().numpy() for ids in prompts]
    return normal(np.stack(rows))


def greedy(model: PreTrainedModel | torch.nn.Module, prompt: Sequence[int]) -> list[int]:
    """The greedy reply, without the sampler of any library."""
    said: list[int] = []
    rest, past = list(prompt), None
    with torch.no_grad():
        for _ in range(REPLY_TOKENS):
            out = model(torch.tensor([rest]), past_key_values=past, use_cache=True)
            rest, past = [int(out.logits[0, -1].argmax())], out.past_key_values
            said += rest
    return said
