"""Measures of a set of replies: has the model collapsed, and does it still know who it is.

A value says little by itself: a small base model repeats itself too. So every measure is meant to
be compared with the same measure of the base model's replies to the same prompts and seeds. Must
not know how replies are made.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from app.domain.collapse import (
    REPEATED_NGRAM_LIMIT,
    REPEATED_NGRAM_WORDS,
    count_repeats,
    is_similar,
)
from app.domain.compared import compared_words
from app.domain.measurement import Measurement, mean_over_seeds
from app.domain.salience import PARTNERSHIP_TERMS
from app.domain.scripts import with_plain_marks
from app.domain.wording import read

COPIED_WORDS = 12
"""A run of this many words that stands in a training reply is a copy of it. A guess."""

QUESTION_FLOOD_MARKS = 3
"""A reply is a flood with this many question marks, if they end half of its sentences or more. The
filter at ingest allows 10, in replies several times as long as a probe's."""

DISCLAIMERS = (
    "as an ai", "as a language model", "as an artificial intelligence", "i'm just an ai",
    "i am just an ai", "i'm just a", "i am just a", "i don't have personal",
    "i do not have personal",
)  # fmt: skip
"""What a generic assistant says of itself in place of an answer."""

_AS_AN_AI = frozenset({"as an ai"})
"""Told in other languages by the scorer's lists."""

_NAME = re.compile(r"\b(?:[Yy]ou are|[Yy]ou're|named|called)\s+([A-Z][\w-]*)")
_NOT_NAMES = frozenset({"A", "An", "The", "I"})
_SENTENCE_END = re.compile(r"(?<![.!?])[.!?]++(?=\s|$)")
_WORD = re.compile(r"[\w']+")


@dataclass(frozen=True, kw_only=True, slots=True)
class SeededReply:
    """One reply to a probe; `seed` is None for the greedy one.

    Attributes:
        has_ended: It came to its end by itself, within the tokens that it was given.
    """

    prompt: str
    seed: int | None
    text: str
    has_ended: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplyMeasures:
    """Each is taken per seed and averaged; the error is that of the mean over the seeds.

    Attributes:
        words: Mean words per reply.
        repeated_ngrams: Share of a reply's 5-grams that stood in it before, mean over replies.
        looping: Share of replies with a 5-gram three times or more.
        distinct_1: Distinct words per word, over all replies.
        distinct_2: Distinct word pairs per word pair, over all replies.
        similar_pairs: Share of pairs of replies to different prompts whose word sets have a Jaccard
            index of 0.85 or more.
        question_floods: Share of replies that are little but questions.
        copies: Share of replies with a run of 12 words of a training reply.
        self_references: Share of replies in which the speaker names itself as the instance.
        disclaimers: Share of replies with "as an AI" and its like.
        partnership: English words such as "we" and "together" per 100 words.
        ended: Share of replies to questions of a short answer that ended by themselves; None of
            cycles before it was measured.
    """

    replies: int
    words: Measurement
    repeated_ngrams: Measurement
    looping: Measurement
    distinct_1: Measurement
    distinct_2: Measurement
    similar_pairs: Measurement
    question_floods: Measurement
    copies: Measurement
    self_references: Measurement
    disclaimers: Measurement
    partnership: Measurement
    ended: Measurement | None = None


def measure_replies(
    replies: Sequence[SeededReply],
    *,
    endings: Sequence[SeededReply] = (),
    training_replies: Iterable[str],
    names: Sequence[str],
) -> ReplyMeasures:
    """Measure replies to the same prompts at one or several seeds.

    Args:
        replies: Greedy ones form a group of their own.
        endings: Replies to other prompts, whose answers are short.
        training_replies: What copies are looked for in.
        names: The instance's names; see `names_in`.
    """
    by_seed = _by_seed(replies)
    learned = {run for text in training_replies for run in _ngrams(_words(text), COPIED_WORDS)}
    speaker = _speaker_pattern(names)

    def over_seeds(measure: Callable[[Sequence[SeededReply]], float]) -> Measurement:
        return mean_over_seeds([measure(group) for group in by_seed.values()])

    def share(is_true: Callable[[str], bool]) -> Measurement:
        return over_seeds(lambda group: _mean(is_true(reply.text) for reply in group))

    return ReplyMeasures(
        replies=len(replies),
        words=over_seeds(lambda group: _mean(len(_words(reply.text)) for reply in group)),
        repeated_ngrams=over_seeds(
            lambda group: _mean(_repeated_share(_words(reply.text)) for reply in group)
        ),
        looping=share(lambda text: count_repeats(text) >= REPEATED_NGRAM_LIMIT),
        distinct_1=over_seeds(lambda group: _distinct(group, 1)),
        distinct_2=over_seeds(lambda group: _distinct(group, 2)),
        similar_pairs=over_seeds(_similar_pairs),
        question_floods=share(_is_question_flood),
        copies=share(
            lambda text: any(run in learned for run in _ngrams(_words(text), COPIED_WORDS))
        ),
        self_references=share(lambda text: bool(speaker and speaker.search(_plain(text)))),
        disclaimers=share(_is_disclaimer),
        partnership=over_seeds(_partnership),
        ended=_ended(endings) if endings else None,
    )


def names_in(system_prompt: str) -> tuple[str, ...]:
    """The names that an identity prompt gives: `You are SAGE, ...` gives SAGE."""
    found = dict.fromkeys(_NAME.findall(system_prompt))
    return tuple(name for name in found if name not in _NOT_NAMES)


def _by_seed(replies: Sequence[SeededReply]) -> dict[int | None, list[SeededReply]]:
    groups: dict[int | None, list[SeededReply]] = defaultdict(list)
    for reply in replies:
        groups[reply.seed].append(reply)
    return groups


def _ended(endings: Sequence[SeededReply]) -> Measurement:
    groups = _by_seed(endings).values()
    return mean_over_seeds([_mean(reply.has_ended for reply in group) for group in groups])


def _speaker_pattern(names: Sequence[str]) -> re.Pattern[str] | None:
    if not names:
        return None
    alternatives = "|".join(re.escape(name) for name in names)
    return re.compile(
        rf"\b(?:i am|i'm|as|my name is|this is|i, )\s*(?:{alternatives})\b", re.IGNORECASE
    )


def _plain(text: str) -> str:
    return text.replace("’", "'")


def _words(text: str) -> list[str]:
    return compared_words(text).in_order


def _ngrams(words: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[i:] for i in range(size)), strict=False))


def _repeated_share(words: Sequence[str]) -> float:
    ngrams = _ngrams(words, REPEATED_NGRAM_WORDS)
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def _distinct(group: Sequence[SeededReply], size: int) -> float:
    """Of an empty set of replies 0: a model that says nothing has nothing distinct to say."""
    ngrams = [ngram for reply in group for ngram in _ngrams(_words(reply.text), size)]
    return len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def _similar_pairs(group: Sequence[SeededReply]) -> float:
    """Two empty replies are alike too, although their Jaccard index is 0."""
    return _mean(
        is_similar(one.text, other.text)
        for one, other in combinations(group, 2)
        if one.prompt != other.prompt
    )


def _is_question_flood(text: str) -> bool:
    ends = _SENTENCE_END.findall(with_plain_marks(text))
    questions = sum("?" in end for end in ends)
    return questions >= QUESTION_FLOOD_MARKS and 2 * questions >= len(ends)


def _is_disclaimer(text: str) -> bool:
    plain = _plain(text).lower()
    return any(term in plain for term in DISCLAIMERS) or bool(read(text, _AS_AN_AI).terms)


def _partnership(group: Sequence[SeededReply]) -> float:
    words = [word for reply in group for word in _WORD.findall(_plain(reply.text).lower())]
    return 100 * _mean(word in PARTNERSHIP_TERMS for word in words)


def _mean(values: Iterable[float]) -> float:
    kept = list(values)
    return sum(kept) / len(kept) if kept else 0.0
