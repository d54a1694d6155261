"""The collapse filter at ingest: replies that would teach the model to repeat itself, or nothing.

A collapsed reply scores as salient and, trained on, makes the collapse permanent; so it is told
apart before salience counts. Pure: the caller passes the instance's earlier responses in.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from app.domain.compared import ComparedWords, compared_words
from app.domain.language import ENGLISH, english_words, find_language, signs_per_word
from app.domain.near_copies import differs_by_a_sign
from app.domain.reply_parts import ReplyParts, is_all_control_tokens, part_reply, said_in
from app.domain.scripts import count_questions, is_mostly_spaceless

RECENT_RESPONSES_FOR_SIMILARITY = 10
SIMILARITY_LIMIT = 0.85

LIMITS_OF_FEW_WORDS: Mapping[str, float] = {"ko": 0.78, "tr": 0.8}
"""Languages that say with two words what others say with three: one of them is more of a reply."""

RUNS_LIMIT = 0.73
"""Of scripts without spaces: a word that differs is one word of 13 at 0.85, and of their runs two
or three that hold a part of it."""

MIN_COPIED_WORDS = 4
"""A shorter reply may differ from another by one sign and say something else, "yes" and "yet". In
English words of the same length. A guess."""

REPEATED_NGRAM_WORDS = 5
REPEATED_NGRAM_LIMIT = 3
MIN_REPEATED_WORDS = 3
"""Of a language that says as much as five English words with fewer."""

QUESTION_MARK_LIMIT = 10

_ERROR_WORDS = (
    r"(?:error|exception|traceback|fail(?:ed|ure)|timed?[- ]?out|unreachable|unavailable"
    r"|refused|no (?:response|answer|reply|output)|silence|empty response)"
)
_ERROR_BEGINS = re.compile(rf"(?!(?:i|we)\b)(?:\w++\s++){{0,2}}{_ERROR_WORDS}\b", re.IGNORECASE)
_BRACKETED = re.compile(
    r"\s*+[\[(](?P<text>[^\[\]()]*+(?:[\[(][^\[\]()]*+[\])][^\[\]()]*+)*+)[\])]?\.?\s*+"
)
"""A text that is one pair of brackets, with pairs in it at most one deep; the last may be cut.

No pattern here may look twice at what it passed over: hence the possessive quantifiers, `*+`."""
_ERROR_TEXTS = re.compile(
    # The runners of SAGE: what they put in a reply's place, whatever follows.
    r"\s*+(?:\[sage processing error|\[ollamairp\s*:|\[daemon unreachable|\(no response\b"
    # A mark as in a log, before a message.
    r"|\[(?:error|exception|fatal|traceback|time-?out|failed)\](?!\()"
    r"|traceback \(most recent call last\)"
    # Nothing but the words that there was none, perhaps from whom.
    r"|no (?:response|answer|reply|output)(?: (?:from|by) (?:the )?"
    r"(?:model|server|daemon|llm|ollama|backend|api|assistant|sage))?[.!]?\s*$"
    r"|(?:error|exception)\s*+:(?=[^\n]*+$)[^\n]*?\b(?:connection|time-?out|timed out|http|refused"
    r"|cuda|memory|unreachable|unavailable)\b)",
    re.IGNORECASE,
)
"""What runners leave in place of a reply. Brackets alone are none: people set stage directions,
links, names and ticks in them (`[smiles softly]`, `[See the log](…)`, `[Sprout]: …`, `[x] …`)."""


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


class Similarity(NamedTuple):
    """How near a reply comes to a recent one.

    Attributes:
        value: The highest Jaccard index, 0..1; 0 without any.
        limit: What it must stay below.
        is_copy: A recent reply is the same but for one sign.
    """

    value: float
    limit: float = SIMILARITY_LIMIT
    is_copy: bool = False


def find_collapse(response: str, recent_responses: Sequence[str]) -> CollapseFinding:
    """Judge one response against the instance's recent ones (newest last).

    Judged is what was said, without reasoning and tool calls. Jaccard: `|A & B| / |A | B|` over
    the sets of words, or of runs of letters where there are no spaces (`app.domain.scripts`).
    """
    return collapse_finding(
        find_own_collapse(response), find_similarity(response, recent_responses)
    )


def collapse_finding(own_reason: str | None, similarity: Similarity) -> CollapseFinding:
    """What is found, given what `find_own_collapse` and `find_similarity` say."""
    reason = own_reason
    if reason is None and similarity.value >= similarity.limit:
        reason = (
            f"similar: word overlap {similarity.value:.2f} with a recent reply, "
            f"below {similarity.limit:.2f} allowed"
        )
    elif reason is None and similarity.is_copy:
        reason = "similar: one character differs from a recent reply"
    return CollapseFinding(reason=reason, similarity=similarity.value)


def find_similarity(response: str, recent_responses: Sequence[str]) -> Similarity:
    """How near a response comes to the recent ones."""
    said = said_in(response)
    words = compared_words(said)
    recent = [
        compared_words(said_in(earlier))
        for earlier in recent_responses[-RECENT_RESPONSES_FOR_SIMILARITY:]
    ]
    length = len(words.signs)
    as_long = [earlier for earlier in recent if -1 <= length - len(earlier.signs) <= 1]
    return Similarity(
        max([jaccard(words.distinct, earlier.distinct) for earlier in recent], default=0.0),
        _similarity_limit(said),
        bool(as_long)
        and _is_telling(words, said)
        and any(differs_by_a_sign(words.signs, earlier.signs) for earlier in as_long),
    )


def is_similar(first: str, second: str) -> bool:
    """Whether two replies are near copies of each other; two that say nothing are."""
    return not (first.split() or second.split()) or (
        jaccard(compared_words(first).distinct, compared_words(second).distinct)
        >= _similarity_limit(first)
    )


def _similarity_limit(said: str) -> float:
    if is_mostly_spaceless(said):
        return RUNS_LIMIT
    return LIMITS_OF_FEW_WORDS.get(find_language(said), SIMILARITY_LIMIT)


def _is_telling(words: ComparedWords, said: str) -> bool:
    """Whether a reply is so long that whoever says all of it but a sign repeats it."""
    return english_words(words.signs, find_language(said)) >= MIN_COPIED_WORDS


def jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    """`|A & B| / |A | B|`; 0 when both are empty."""
    common = len(first & second)
    union = len(first) + len(second) - common
    return common / union if union else 0.0


def find_own_collapse(response: str) -> str | None:
    """Why a reply must not be trained on, whatever was said before; None where it may."""
    parts = part_reply(response)
    if (nothing := _says_nothing(parts)) is not None:
        return nothing
    questions = count_questions(parts.said)
    if questions > QUESTION_MARK_LIMIT:
        return f"question_flood: {questions} question marks, at most {QUESTION_MARK_LIMIT}"
    if (times := count_repeats(parts.said)) >= REPEATED_NGRAM_LIMIT:
        return (
            f"repetition: a phrase of {REPEATED_NGRAM_WORDS} words occurs {times} times, "
            f"fewer than {REPEATED_NGRAM_LIMIT} allowed"
        )
    return None


def count_repeats(said: str) -> int:
    """How often the phrase of five words occurs that occurs most often; 0 without any.

    In another language than English it is what says as much: as many signs, in `MIN_REPEATED_WORDS`
    to five words; where words are not told apart, as many letters.
    """
    words = compared_words(said)
    language = find_language(said)
    phrases: Iterable[object]
    if language == ENGLISH:
        phrases = zip(*(words.in_order[i:] for i in range(REPEATED_NGRAM_WORDS)), strict=False)
    else:
        length = round(REPEATED_NGRAM_WORDS * signs_per_word(said, language))
        if is_mostly_spaceless(said):
            signs = words.signs
            phrases = (signs[i : i + length] for i in range(len(signs) - length + 1))
        else:
            phrases = _phrases_of(words.in_order, length)
    return max(Counter(phrases).values(), default=0)


def _phrases_of(words: list[str], signs: int) -> Iterator[tuple[str, ...]]:
    """From each word the shortest run that has so many signs, within its bounds of words."""
    for first in range(len(words) - MIN_REPEATED_WORDS + 1):
        run = words[first : first + REPEATED_NGRAM_WORDS]
        total = 0
        for count, word in enumerate(run, 1):
            total += len(word)
            if count >= MIN_REPEATED_WORDS and total >= signs:
                yield tuple(run[:count])
                break
        else:
            if len(run) == REPEATED_NGRAM_WORDS:
                yield tuple(run)


def _is_error_text(said: str) -> bool:
    if _ERROR_TEXTS.match(said):
        return True
    whole = _BRACKETED.fullmatch(said) if said.lstrip()[:1] in {"[", "("} else None
    return whole is not None and _ERROR_BEGINS.match(whole["text"]) is not None


def _is_seen(character: str) -> bool:
    """Whether a character shows: no space, no control character and no invisible mark."""
    return unicodedata.category(character) not in {"Zs", "Zl", "Zp", "Cc", "Cf", "Cs"}


def _says_nothing(parts: ReplyParts) -> str | None:
    """Why a reply is none at all, or None."""
    if parts.is_unfinished:
        return f"unfinished_thinking: {parts.opening} is opened and never closed"
    if is_all_control_tokens(parts.said):
        return "control_tokens: the reply is nothing but control tokens of a chat template"
    if not any(_is_seen(character) for character in parts.said):
        return "nothing_said: the reply is reasoning or tool calls alone, without an answer"
    if _is_error_text(parts.said):
        return "error_text: the reply is an error message, not an answer"
    return None
