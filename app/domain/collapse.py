"""The collapse filter at ingest: replies that would teach the model to repeat itself.

A collapsed reply scores as salient and, trained on, makes the collapse permanent; so it is told
apart before salience counts. Pure: the caller passes the instance's earlier responses in.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.domain.words import ReplyWords, reply_words

RECENT_RESPONSES_FOR_SIMILARITY = 10
SIMILARITY_LIMIT = 0.85
REPEATED_NGRAM_WORDS = 5
REPEATED_NGRAM_LIMIT = 3
QUESTION_MARK_LIMIT = 10

_SYMBOLS = frozenset({"So", "Sk", "Mn", "Me", "Cf"})
"""Unicode categories that an emoji may end on: a reply may well end on one."""

_CLOSING = frozenset(""".!?…。！？:;)]}"'”’»*_`~|>""")


@dataclass(frozen=True, kw_only=True, slots=True)
class CollapseFinding:
    """What the filter found.

    Attributes:
        reason: None for a reply that passes; otherwise a short name of the rule and its numbers.
        similarity: Highest word-set Jaccard index with a recent response, 0..1; 0 without any.
    """

    reason: str | None
    similarity: float

    @property
    def is_filtered(self) -> bool:
        """Whether the reply must not be trained on."""
        return self.reason is not None


def find_collapse(response: str, recent_responses: Sequence[str]) -> CollapseFinding:
    """Judge one response against the instance's recent ones (newest last).

    Jaccard: `|A & B| / |A | B|` over the sets of lower-cased words.
    """
    words = reply_words(response)
    recent = recent_responses[-RECENT_RESPONSES_FOR_SIMILARITY:]
    similarity = max(
        [jaccard(words.distinct, reply_words(earlier).distinct) for earlier in recent], default=0.0
    )
    return CollapseFinding(reason=_reason(words, similarity), similarity=similarity)


def jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    """`|A & B| / |A | B|`; 0 when both are empty."""
    common = len(first & second)
    union = len(first) + len(second) - common
    return common / union if union else 0.0


def looks_truncated(response: str) -> bool:
    """Whether a reply ends without closing punctuation, as one cut at a length cap does.

    Such a reply is kept, but its end-of-turn token is not a training target.
    """
    last = response.rstrip()[-1:]
    return bool(last) and last not in _CLOSING and unicodedata.category(last) not in _SYMBOLS


def _reason(words: ReplyWords, similarity: float) -> str | None:
    if words.lowered.lstrip().startswith("[") or "no response" in words.lowered:
        return "error_text: the reply is an error message, not an answer"
    questions = words.lowered.count("?")
    if questions > QUESTION_MARK_LIMIT:
        return f"question_flood: {questions} question marks, at most {QUESTION_MARK_LIMIT}"
    if loops := [n for n in _count_ngrams(words.in_order) if n >= REPEATED_NGRAM_LIMIT]:
        return (
            f"repetition: a phrase of {REPEATED_NGRAM_WORDS} words occurs {max(loops)} times, "
            f"fewer than {REPEATED_NGRAM_LIMIT} allowed"
        )
    if similarity >= SIMILARITY_LIMIT:
        return (
            f"similar: word overlap {similarity:.2f} with a recent reply, "
            f"below {SIMILARITY_LIMIT:.2f} allowed"
        )
    return None


def _count_ngrams(words: list[str]) -> Iterable[int]:
    """How often each run of words occurs."""
    runs = zip(*(words[i:] for i in range(REPEATED_NGRAM_WORDS)), strict=False)
    return Counter(runs).values()
