"""Variations of an experience: which are made, what they change, and when one has drifted.

A variation gives the same reply, word for word, another context: the prompt in other words, fewer
earlier turns, or the same turns in another order. It is trained on beside its experience, is never
measured with, and its text is stored nowhere: model, recipe and experience make it again, so that
what erases the experience erases what was derived from it. Must not know models or tokens.

Only the earlier turns are a context that is varied; the system prompt is what sessions always send,
and a reply learned without it would be a reply to something else.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from app.domain.collapse import find_collapse, jaccard
from app.domain.experience import TrainingExchange, Turn
from app.domain.replies import DISCLAIMERS

PROMPT_WORDS = range(3, 61)
"""How many words a prompt has that is put in other words; a guess. "Hello" has no others, and a
small model loses the end of a long one."""

OVERLAP_LIMIT = 0.5
"""Jaccard index of the words of a prompt and of its paraphrase, at least: see `compare_wording`."""

LENGTH_RATIOS = (0.7, 1.6)
"""Words of the paraphrase per word of the prompt: below, it lost a clause."""

LOSS_RISE_LIMIT = 0.1
"""How much less likely the reply may become under the variation, nats per token: see
`loss_drift`."""

_WORD = re.compile(r"[\w']+")
_SENTENCE = re.compile(r"(?<![.!?:])[.!?:]++[\"')\]]*+\s++|\n+|[—–]\s*")
_PERSONS = (
    frozenset({"i", "me", "my", "mine", "myself"}),
    frozenset({"you", "your", "yours", "yourself"}),
    frozenset({"we", "us", "our", "ours", "ourselves"}),
)
_REFUSALS = (*DISCLAIMERS, "i'm sorry", "i am sorry", "i cannot", "i can't", "i'm not able")
_TASK_WORDS = ("paraphras", "rephras", "reword", "rewrit", "other words", "the message", "question")


class VariationKind(StrEnum):
    """What differs from the experience."""

    PARAPHRASED_PROMPT = "paraphrased_prompt"
    DROPPED_CONTEXT = "dropped_context"
    SHUFFLED_CONTEXT = "shuffled_context"


class Drift(StrEnum):
    """Why a variation is not trained on."""

    UNCHANGED = "unchanged"
    UNFINISHED = "unfinished"
    COLLAPSED = "collapsed"
    REFUSAL = "refusal"
    ABOUT_THE_TASK = "about_the_task"
    LENGTH = "length"
    WORDS = "words"
    QUESTIONS = "questions"
    PERSONS = "persons"
    NAMES = "names"
    REPLY_CUT = "reply_cut"
    LOSS = "loss"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wording:
    """How a paraphrase compares with its prompt; `drift` is None for one that may be kept."""

    word_overlap: float
    length_ratio: float
    drift: Drift | None


@dataclass(frozen=True, kw_only=True, slots=True)
class VariationFinding:
    """One variation that was made, without its text.

    Attributes:
        drift: Why it is not trained on; None where it is.
        loss_rise: Loss of the reply in the variation less that in the experience, nats per token;
            None where it was not measured.
        word_overlap: Jaccard index of the prompts' words; None where the prompt is the same.
        length_ratio: Words of the new prompt per word of the old one; None as above.
    """

    experience_id: str
    kind: VariationKind
    drift: Drift | None
    loss_rise: float | None = None
    word_overlap: float | None = None
    length_ratio: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class VariationCount:
    """How many of a kind were made and kept; `refused` counts the others by their `Drift`."""

    kind: VariationKind
    made: int
    kept: int
    refused: dict[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class VariationSummary:
    """What a cycle reports of its variations."""

    counts: tuple[VariationCount, ...]
    findings: tuple[VariationFinding, ...]


def plan_variations(
    exchanges: Sequence[TrainingExchange], kinds: Collection[VariationKind], share: float
) -> list[tuple[int, VariationKind]]:
    """Which exchanges are varied and how: places in `exchanges`, each with a kind.

    At most `share` for each exchange on average, the first exchanges first; each gets one before
    any gets a second, and the kinds that apply to it take turns from place to place.
    """
    room = int(share * len(exchanges) + 1e-9)
    wanted = [kind for kind in VariationKind if kind in kinds]
    applicable = [[kind for kind in wanted if applies(kind, one)] for one in exchanges]
    planned: list[tuple[int, VariationKind]] = []
    for turn in range(len(wanted)):
        for place, own in enumerate(applicable):
            if turn < len(own):
                planned.append((place, own[(place + turn) % len(own)]))
    return planned[:room]


def applies(kind: VariationKind, exchange: TrainingExchange) -> bool:
    """Whether there is anything of this kind to vary in the exchange."""
    match kind:
        case VariationKind.PARAPHRASED_PROMPT:
            return "\n" not in exchange.prompt.strip() and len(exchange.prompt.split()) in (
                PROMPT_WORDS
            )
        case VariationKind.DROPPED_CONTEXT:
            return bool(exchange.history)
        case VariationKind.SHUFFLED_CONTEXT:
            return len(_split_history(exchange.history)[1]) > 1


def drop_context(exchange: TrainingExchange, *, seed: int) -> TrainingExchange:
    """The exchange without its oldest turns: so many as the seed says, at least one, perhaps all.

    The oldest, because what is left is then a conversation that could have been.
    """
    head, pairs = _split_history(exchange.history)
    parts = [head, *pairs] if head else pairs
    dropped = _draw(exchange, VariationKind.DROPPED_CONTEXT, seed).randint(1, len(parts))
    return replace(exchange, history=tuple(turn for part in parts[dropped:] for turn in part))


def shuffle_context(exchange: TrainingExchange, *, seed: int) -> TrainingExchange:
    """The exchange with its earlier prompts, each with what followed it, in another order.

    What stands before the first prompt stays there.
    """
    head, pairs = _split_history(exchange.history)
    order = list(range(len(pairs)))
    draw = _draw(exchange, VariationKind.SHUFFLED_CONTEXT, seed)
    while order == sorted(order):
        draw.shuffle(order)
    return replace(exchange, history=(*head, *(turn for i in order for turn in pairs[i])))


def compare_wording(prompt: str, paraphrase: str) -> Wording:
    """Judge a prompt in other words by its words alone.

    A word for word copy, another speech act, another addressee, lost or new names and numbers, and
    too few common words are drift; the last rules out other languages and scripts as well. The
    lists of words are English; in another language they refuse less, and the rest holds.

    Of what the embedded model made of 75 prompts (the demo's 30, 45 of real sessions) 15 pass. By
    eye 12 of these ask the same and 3 do not quite: what is wanted from tomorrow became what is
    wanted to be done then. An overlap of 0.4 let one through that asked for experience in place of
    notice, a ratio of 0.5 four that had lost half of the prompt, and without a longest word one
    passed that had lost what it asked about.
    """
    old, new = _words(prompt), _words(paraphrase)
    overlap = jaccard(frozenset(old), frozenset(new))
    ratio = len(new) / max(len(old), 1)
    return Wording(
        word_overlap=overlap,
        length_ratio=ratio,
        drift=_drift_in_words(prompt, paraphrase, old, new, overlap, ratio),
    )


def loss_drift(loss_rise: float) -> Drift | None:
    """Whether the reply fits the variation too badly; a loss that is no number does.

    Measured with the embedded model, nats per token: the 25 paraphrases of 118 exchanges that
    passed by their words rose by -0.07 to 0.10, median 0.01; with the prompt of another exchange
    the median was 0.18, and the limit refuses 67 % of those. Of 89 exchanges with up to four before
    them as history, shuffling moved the median by 0.00 and 3 of 88 were refused; dropping moved it
    by 0.12 and 48 were refused: such a reply leans on what was dropped.
    """
    return None if loss_rise <= LOSS_RISE_LIMIT else Drift.LOSS


def summarise_variations(findings: Sequence[VariationFinding]) -> VariationSummary:
    """Count what was made, kept and refused of each kind."""
    counts = []
    for kind in VariationKind:
        own = [finding for finding in findings if finding.kind is kind]
        refused = Counter(finding.drift.value for finding in own if finding.drift)
        if own:
            counts.append(
                VariationCount(
                    kind=kind,
                    made=len(own),
                    kept=len(own) - refused.total(),
                    refused=dict(sorted(refused.items())),
                )
            )
    return VariationSummary(counts=tuple(counts), findings=tuple(findings))


def _drift_in_words(
    prompt: str,
    paraphrase: str,
    old: Sequence[str],
    new: Sequence[str],
    overlap: float,
    ratio: float,
) -> Drift | None:
    before, after = prompt.lower(), paraphrase.lower()
    rules = (
        (Drift.UNCHANGED, old == new),
        (Drift.COLLAPSED, not new or find_collapse(paraphrase, []).is_filtered),
        (Drift.REFUSAL, _adds(before, after, _REFUSALS)),
        (Drift.ABOUT_THE_TASK, _adds(before, after, _TASK_WORDS)),
        (Drift.LENGTH, not LENGTH_RATIOS[0] <= ratio <= LENGTH_RATIOS[1]),
        (Drift.QUESTIONS, prompt.count("?") != paraphrase.count("?")),
        (Drift.NAMES, not _names_agree(prompt, paraphrase)),
        (Drift.PERSONS, not all(_speak_alike(group, old, new) for group in _PERSONS)),
        (Drift.WORDS, overlap < OVERLAP_LIMIT or not _keeps_longest(old, new)),
    )
    return next((drift for drift, is_true in rules if is_true), None)


def _adds(before: str, after: str, terms: Sequence[str]) -> bool:
    return any(term in after and term not in before for term in terms)


def _speak_alike(group: frozenset[str], old: Sequence[str], new: Sequence[str]) -> bool:
    """Whether a person is spoken of in both or in neither, and no more often than before."""
    before, after = (sum(word.partition("'")[0] in group for word in words) for words in (old, new))
    return bool(before) == bool(after) and after <= before


def _keeps_longest(old: Sequence[str], new: Sequence[str]) -> bool:
    """Whether a longest word of the prompt stays: it is often what the prompt is about."""
    longest = max(map(len, old), default=0)
    return any(len(word) == longest for word in {*old} & {*new})


def _names_agree(prompt: str, paraphrase: str) -> bool:
    """Names and numbers of either stand in the other, wherever in a sentence."""
    return _names(prompt) <= _letters(paraphrase) and _names(paraphrase) <= _letters(prompt)


def _names(text: str) -> frozenset[str]:
    """Words with a digit, and those with a capital that begin no sentence; not `I`."""
    found = set()
    for sentence in _SENTENCE.split(text):
        for place, word in enumerate(_WORD.findall(sentence)):
            bare = word.partition("'")[0]
            is_name = place > 0 and bare != bare.lower() and bare != "I"
            if is_name or any(character.isdigit() for character in bare):
                found.add(bare.lower())
    return frozenset(found)


def _letters(text: str) -> frozenset[str]:
    return frozenset(word.partition("'")[0] for word in _words(text))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.replace("’", "'").lower())


def _split_history(
    history: Sequence[Turn],
) -> tuple[tuple[Turn, ...], list[tuple[Turn, ...]]]:
    """What stands before the first prompt, and each prompt with what followed it."""
    starts = [place for place, turn in enumerate(history) if turn.role == "user"]
    ends = [*starts[1:], len(history)]
    head = tuple(history[: starts[0]] if starts else history)
    return head, [tuple(history[a:b]) for a, b in zip(starts, ends, strict=False)]


def _draw(exchange: TrainingExchange, kind: VariationKind, seed: int) -> random.Random:
    """Random numbers of one experience's own, whatever else is varied beside it."""
    return random.Random(f"{seed}:{kind}:{exchange.experience_id}")  # noqa: S311  # no secret
