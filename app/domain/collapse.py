"""The collapse filter at ingest: replies that would teach the model to repeat itself, or nothing.

A collapsed reply scores as salient and, trained on, makes the collapse permanent; so it is told
apart before salience counts. Pure: the caller passes the instance's earlier responses in.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.domain.reply_parts import ReplyParts, is_all_control_tokens, part_reply, said_in
from app.domain.words import reply_words

RECENT_RESPONSES_FOR_SIMILARITY = 10
SIMILARITY_LIMIT = 0.85
REPEATED_NGRAM_WORDS = 5
REPEATED_NGRAM_LIMIT = 3
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


def find_collapse(response: str, recent_responses: Sequence[str]) -> CollapseFinding:
    """Judge one response against the instance's recent ones (newest last).

    Judged is what was said, without reasoning and tool calls. Jaccard: `|A & B| / |A | B|` over
    the sets of lower-cased words.
    """
    return collapse_finding(
        find_own_collapse(response), find_similarity(response, recent_responses)
    )


def collapse_finding(own_reason: str | None, similarity: float) -> CollapseFinding:
    """What is found, given what `find_own_collapse` and `find_similarity` say."""
    reason = own_reason
    if reason is None and similarity >= SIMILARITY_LIMIT:
        reason = (
            f"similar: word overlap {similarity:.2f} with a recent reply, "
            f"below {SIMILARITY_LIMIT:.2f} allowed"
        )
    return CollapseFinding(reason=reason, similarity=similarity)


def find_similarity(response: str, recent_responses: Sequence[str]) -> float:
    """The highest Jaccard index with a recent response; 0 without any."""
    said = reply_words(said_in(response)).distinct
    recent = recent_responses[-RECENT_RESPONSES_FOR_SIMILARITY:]
    return max(
        [jaccard(said, reply_words(said_in(earlier)).distinct) for earlier in recent], default=0.0
    )


def jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    """`|A & B| / |A | B|`; 0 when both are empty."""
    common = len(first & second)
    union = len(first) + len(second) - common
    return common / union if union else 0.0


def find_own_collapse(response: str) -> str | None:
    """Why a reply must not be trained on, whatever was said before; None where it may."""
    parts = part_reply(response)
    words = reply_words(parts.said)
    if (nothing := _says_nothing(parts)) is not None:
        return nothing
    questions = words.lowered.count("?")
    if questions > QUESTION_MARK_LIMIT:
        return f"question_flood: {questions} question marks, at most {QUESTION_MARK_LIMIT}"
    if loops := [n for n in _count_ngrams(words.in_order) if n >= REPEATED_NGRAM_LIMIT]:
        return (
            f"repetition: a phrase of {REPEATED_NGRAM_WORDS} words occurs {max(loops)} times, "
            f"fewer than {REPEATED_NGRAM_LIMIT} allowed"
        )
    return None


def _count_ngrams(words: list[str]) -> Iterable[int]:
    """How often each run of words occurs."""
    runs = zip(*(words[i:] for i in range(REPEATED_NGRAM_WORDS)), strict=False)
    return Counter(runs).values()


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
