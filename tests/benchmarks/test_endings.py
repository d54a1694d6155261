"""Forty chatty replies without a full stop: do the adapter's replies still come to an end?

The rule that took such a reply for cut, so that its end of turn was never learned, against today's,
in the same run: the lengths of replies to the gate's questions of a short answer.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import mean

import pytest

from app.domain.completeness import is_cut
from app.domain.experience import TrainingExchange
from app.domain.instance import SAGE_SYSTEM_PROMPT
from app.domain.recipe import Recipe
from app.training.anchors import general_prompts
from app.training.chat import ChatEncoder
from app.training.examples import make_examples
from app.training.generation import Draw, continue_prompts
from app.training.loading import BaseModel
from app.training.loop import TrainingLoop
from app.training.lora import detach_adapter
from tests.benchmarks.recipe import Yardstick
from tests.fuzz.conversations import NONE

pytestmark = pytest.mark.timeout(3600)

NEW_TOKENS = 60
SEEDS = (0, 1, 2)
STARTS = (
    "haha yes we did that together and it was fun",
    "ok so here is what i noticed about the pump",
    "hm good question i think we should look again",
    "oh nice that reminds me of the garden we planned",
    "sure we can try it tomorrow when it is warmer",
)
ENDS = (
    "and then the basil grew back :)",
    "you were right about the valve btw",
    "but i am not sure yet",
    "lol the logs say the same",
    "and we both liked it",
    "so let us keep the note",
    "thanks for telling me",
    "see you later then",
)


def chatty() -> list[TrainingExchange]:
    """Forty exchanges, none of whose replies ends in a mark."""
    return [
        TrainingExchange(
            experience_id=f"{a}-{b}",
            prompt=f"what about number {a * len(ENDS) + b}?",
            response=f"{start} {end}",
            salience=NONE,
            is_truncated=is_cut(f"{start} {end}", None),
        )
        for a, start in enumerate(STARTS)
        for b, end in enumerate(ENDS)
    ]


def lengths(base: BaseModel, encoder: ChatEncoder) -> list[int]:
    """Tokens of each reply; one that did not end has `NEW_TOKENS + 1`."""
    ends = base.end_ids | encoder.end_ids
    draws = [
        Draw(prompt=tuple(encoder.encode_prompt(prompt)), seed=seed)
        for prompt in general_prompts().endings
        for seed in SEEDS
    ]
    written = continue_prompts(base.model, draws, new_tokens=NEW_TOKENS, end_ids=ends)
    return [len(ids) if ids[-1] in ends else NEW_TOKENS + 1 for ids in written]


def test_replies_learned_without_a_full_stop_still_end(
    embedded_model: Path, tmp_path: Path
) -> None:
    yardstick = Yardstick.load(embedded_model, tmp_path / "kept")
    base = yardstick.base
    encoder = ChatEncoder(base.tokenizer, system_prompt=SAGE_SYSTEM_PROMPT, max_length=1024)
    exchanges = chatty()
    as_cut = [replace(one, is_truncated=True) for one in exchanges]
    found = {"the base": lengths(base, encoder)}
    for name, taken in (("all taken for cut", as_cut), ("today's rule", exchanges)):
        train, unfit = make_examples(taken, encoder)
        assert not unfit
        loop = TrainingLoop(embedded_model, tmp_path / name, recipe=Recipe(), base=base)
        loop.train_on_experiences(train, anchors=yardstick.anchors(loop.recipe))
        found[name] = lengths(base, encoder)
        detach_adapter(loop.adapted)
    print(f"\n  {len(found['the base'])} replies of at most {NEW_TOKENS} tokens")
    for name, counts in found.items():
        within = [mean(count <= limit for count in counts) for limit in (40, NEW_TOKENS)]
        shown = " ".join("-" if n > NEW_TOKENS else str(n) for n in counts[:: len(SEEDS)])
        print(f"  {name:18} end within 40: {within[0]:.2f}, within 60: {within[1]:.2f}  [{shown}]")
    assert mean(found["today's rule"]) < mean(found["the base"]) < mean(found["all taken for cut"])
