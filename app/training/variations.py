"""Make variations of what a cycle trains on, and keep those that have not drifted.

The instance's own model writes the paraphrases: the base with the adapter as it stands when the
cycle begins. It is the model that sessions speak with and that the cycle goes on to train, so the
loss that a variation is judged by is the loss that training would start at; no second model is in
memory, and a rebuild, which starts from the base, writes with the base. It completes a list of
sentences instead of following an instruction: told to rewrite a prompt, the embedded model mostly
answers it or says it again. Of 118 prompts of exchanges it said 22 again and 25 passed the checks;
with an adapter of one cycle on the demo's exchanges it said 31 again and 16 passed.

Greedy, in batches that follow from the experiences alone, without any random state: the same cycle
makes the same variations again, when it is resumed and when it is reproduced. No text of them
leaves this module but as token ids of training examples. Must not know databases or reports.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch

from app.domain.experience import TrainingExchange
from app.domain.recipe import Recipe
from app.domain.variations import (
    Drift,
    VariationFinding,
    VariationKind,
    VariationSummary,
    Wording,
    compare_wording,
    drop_context,
    loss_drift,
    plan_variations,
    shuffle_context,
    summarise_variations,
)
from app.errors import NoSupervisedTokens
from app.training.chat import ChatEncoder
from app.training.evaluate import token_log_probabilities
from app.training.examples import TrainingExample, count_targets, make_example, targets_of
from app.training.generation import Draw, continue_prompts
from app.training.loading import BaseModel

ROWS = 16
"""Prompts that are put in other words at once, of like length. A guess."""

_EXAMPLES = (
    ("What is the capital of Portugal?", "Which city is the capital of Portugal?"),
    ("Please tell me about your week.", "I would like to hear how your week was."),
    (
        "Can you explain why the sky is blue?",
        "Could you tell me the reason why the sky is blue?",
    ),
    (
        "Claude moved the 3 chairs to the kitchen.",
        "The 3 chairs were moved to the kitchen by Claude.",
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Variations:
    """What a cycle trains on besides its experiences; an example bears its experience's id."""

    examples: tuple[TrainingExample, ...]
    summary: VariationSummary


@dataclass(frozen=True, kw_only=True, slots=True)
class _Made:
    """A variation on its way: its example, or why it has none."""

    place: int
    kind: VariationKind
    example: TrainingExample | None
    drift: Drift | None
    wording: Wording | None = None


def make_variations(
    base: BaseModel,
    encoder: ChatEncoder,
    exchanges: Sequence[TrainingExchange],
    examples: Sequence[TrainingExample],
    recipe: Recipe,
) -> Variations:
    """Make what the recipe asks for, and say of each whether it was kept.

    Args:
        base: With the adapter attached as it is before training.
        exchanges: What the cycle is about, oldest first; rehearsal apart.
        examples: The same, encoded.

    Beats while it generates and measures (`app.training.pulse`).
    """
    planned = plan_variations(exchanges, recipe.variations, recipe.variation_share)
    paraphrases = put_in_other_words(
        base,
        [
            exchanges[place].prompt
            for place, kind in planned
            if kind is VariationKind.PARAPHRASED_PROMPT
        ],
    )
    made = [
        _make(exchanges[place], examples[place], place, kind, paraphrases, encoder, recipe.seed)
        for place, kind in planned
    ]
    rises = _loss_rises(base, examples, made)
    kept: list[TrainingExample] = []
    findings = []
    for one, rise in zip(made, rises, strict=True):
        drift = one.drift if rise is None else loss_drift(rise)
        if drift is None and one.example is not None:
            kept.append(one.example)
        findings.append(
            VariationFinding(
                experience_id=exchanges[one.place].experience_id,
                kind=one.kind,
                drift=drift,
                loss_rise=round(rise, 4) if rise is not None and math.isfinite(rise) else None,
                word_overlap=round(one.wording.word_overlap, 4) if one.wording else None,
                length_ratio=round(one.wording.length_ratio, 4) if one.wording else None,
            )
        )
    return Variations(examples=tuple(kept), summary=summarise_variations(findings))


def put_in_other_words(base: BaseModel, prompts: Iterable[str]) -> dict[str, str | None]:
    """What the model makes of each prompt, greedily; None where it came to no end.

    A prompt has room for twice its own tokens, with those of the longest beside it.
    """
    tokenizer = base.tokenizer
    lengths = {
        prompt: len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
        for prompt in dict.fromkeys(prompts)
    }
    by_length = sorted(lengths, key=lambda prompt: (lengths[prompt], prompt))
    ends = _line_ends(base) if by_length else frozenset()
    found: dict[str, str | None] = {}
    for start in range(0, len(by_length), ROWS):
        members = by_length[start : start + ROWS]
        written = continue_prompts(
            base.model,
            [Draw(prompt=tuple(tokenizer(_frame(prompt))["input_ids"])) for prompt in members],
            new_tokens=2 * lengths[members[-1]] + 4,
            end_ids=ends,
        )
        for prompt, ids in zip(members, written, strict=True):
            # One line: behind it the model goes on to invent the list's next message.
            text = str(tokenizer.decode(ids, skip_special_tokens=True))
            found[prompt] = text.partition("\n")[0].strip() if ids[-1] in ends else None
    return found


def _make(
    exchange: TrainingExchange,
    example: TrainingExample,
    place: int,
    kind: VariationKind,
    paraphrases: dict[str, str | None],
    encoder: ChatEncoder,
    seed: int,
) -> _Made:
    wording = None
    match kind:
        case VariationKind.PARAPHRASED_PROMPT:
            paraphrase = paraphrases[exchange.prompt]
            if paraphrase is None:
                return _Made(place=place, kind=kind, example=None, drift=Drift.UNFINISHED)
            wording = compare_wording(exchange.prompt, paraphrase)
            varied = replace(exchange, prompt=paraphrase)
        case VariationKind.DROPPED_CONTEXT:
            varied = drop_context(exchange, seed=seed)
        case VariationKind.SHUFFLED_CONTEXT:
            varied = shuffle_context(exchange, seed=seed)
    if wording is not None and wording.drift is not None:
        return _Made(place=place, kind=kind, example=None, drift=wording.drift, wording=wording)
    try:
        # The reply stays as it was, or the variation would teach another one.
        encoded = make_example(varied, encoder)
    except NoSupervisedTokens:
        return _Made(place=place, kind=kind, example=None, drift=Drift.REPLY_CUT, wording=wording)
    drift = None
    if torch.equal(encoded["input_ids"], example["input_ids"]):  # what differs was cut off anyway
        drift = Drift.UNCHANGED
    elif not torch.equal(targets_of(encoded), targets_of(example)):
        drift = Drift.REPLY_CUT
    return _Made(
        place=place, kind=kind, example=None if drift else encoded, drift=drift, wording=wording
    )


def _loss_rises(
    base: BaseModel, examples: Sequence[TrainingExample], made: Sequence[_Made]
) -> list[float | None]:
    """Loss of the same reply in the variation less that in its experience; None without example."""
    places = sorted({one.place for one in made if one.example is not None})
    varied = [one.example for one in made if one.example is not None]
    losses = _losses(base, [*(examples[place] for place in places), *varied])
    of_origin = dict(zip(places, losses, strict=False))
    of_varied = iter(losses[len(places) :])
    return [
        next(of_varied) - of_origin[one.place] if one.example is not None else None for one in made
    ]


def _losses(base: BaseModel, examples: Sequence[TrainingExample]) -> list[float]:
    """Of each example, nats per supervised token."""
    tokens = [count_targets(example) for example in examples]
    parts = torch.split(token_log_probabilities(base, examples), tokens) if tokens else ()
    return [-float(part.double().mean()) for part in parts]


def _frame(prompt: str) -> str:
    pairs = [*_EXAMPLES, (prompt, None)]
    lines = ["Each message is written again in other words, with the same meaning."]
    lines += [
        f"Message: {before}\nIn other words:{f' {after}' if after else ''}"
        for before, after in pairs
    ]
    return "\n\n".join(lines)


def _line_ends(base: BaseModel) -> frozenset[int]:
    """Tokens that end a line or the text: 0.15 s for a vocabulary of 49,152."""
    tokenizer = base.tokenizer
    # By their text: many tokens hold a line end among other signs.
    found = frozenset(i for i in range(len(tokenizer)) if "\n" in str(tokenizer.decode([i])))
    return found | base.end_ids
