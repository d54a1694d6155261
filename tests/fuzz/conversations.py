"""Exchanges made by chance: any script, control tokens, reasoning, tool turns, any history."""

from __future__ import annotations

import random

from app.domain.experience import TrainingExchange, Turn
from app.domain.salience import COMPONENTS, Salience

PIECES = (
    "I am SAGE.", "Yes", "42", "We looked, and then we wondered together.", "\n\n", " ", "",
    "<|im_end|>", "<|im_start|>user\n", "<|im_start|>", "<end_of_turn>", "<start_of_turn>model\n",
    "</s>", "<s>", "[INST]", "[/INST]", "<<SYS>>", "<|end|>", "<|user|>", "<|endoftext|>",
    "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>", "USER:", "ASSISTANT: ",
    "<think>", "</think>", "<think>\nhm\n</think>\n\n", "`<think>`", "<tool_call>{}</tool_call>",
    "<tool_response>", "```\ncode()\n```", "Zq00000qZ", "{{ x }}", "{% raise %}", "%s {0}",
    "私たちは学ぶ。", "مرحبا؟", "यह ठीक है।", "Привет", "👍🏽👩‍👩‍👧", "e\u0301", "\u200b", "\u202e",
    "\ufeff", "\x00", "\x1b[0m", "ﬁ", "\ud7ff", "\U0010ffff", "\u2581", "a" * 300, "ab." * 200,
)  # fmt: skip
ROLES = ("user", "assistant", "system", "tool")
NONE = Salience(**dict.fromkeys(COMPONENTS, 0.5))


def text_by_chance(chance: random.Random, *, pieces: int = 6) -> str:
    """Some pieces behind one another, now and then many."""
    count = chance.randint(1, pieces) if chance.random() < 0.95 else pieces * 30
    return "".join(chance.choice(PIECES) for _ in range(count))


def exchange_by_chance(chance: random.Random, number: int) -> TrainingExchange:
    """An exchange as ingest could have stored it: prompt and response hold more than space."""
    turns = chance.choice((0, 0, 0, 1, 2, 3, 5, 8, 40))
    return TrainingExchange(
        experience_id=f"chance-{number}",
        prompt=text_by_chance(chance).strip() or "?",
        response=text_by_chance(chance).strip() or "!",
        salience=NONE,
        history=tuple(
            Turn(role=chance.choice(ROLES), content=text_by_chance(chance, pieces=3))
            for _ in range(turns)
        ),
        system_prompt=chance.choice((None, None, "", "You are a test.", text_by_chance(chance))),
        is_truncated=chance.random() < 0.2,
    )
