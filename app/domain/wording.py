"""What a reply says of the scorer's terms, in its language, and how long it is in English words.

English is read as `snarc-1` always read it: white-space words, `?`, and terms wherever their
letters stand. So `us` is found in `because`: 70 % of 656 real replies hold those letters, and 5 %
the word. Whole words would change most stored rewards, hence that stays.

Another language's terms (`app.domain.terms`) are looked for where words begin, and what English
finds by chance is added: of `us`, `we` and `our`, those not said count as far as they would stand
in other words of an English reply as long. Its length is what the same would take in English. Of a
language without terms, what English replies of that length say on average is taken for said, so
that neither all of its replies stay below the threshold nor all rise above it; what orders them is
their surprise, novelty, length and questions.

Must not know what is made of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from app.domain.language import ENGLISH, UNKNOWN, english_words, find_language
from app.domain.scripts import bare_words, count_questions, fold
from app.domain.terms import TERMS_BY_LANGUAGE
from app.domain.words import reply_words

CHANCE_PER_WORD: Mapping[str, float] = {"us": 0.025, "we": 0.007, "our": 0.003}
"""How often an English word holds the letters of a term that it is not: measured on the replies of
656 real exchanges, in parts of 8 to 92 words, alike for each length."""

MEAN_WORDS = 25
MEAN_EMOTIONS = 1.35
MEAN_PARTNERSHIP = 1.3
MEAN_CONFLICT = 1.0
"""What English replies say on average, in terms that count: with `n` words each times
`1 - exp(-n / 25)`. So it is with 656 real ones of 15 to 180 words, to 0.1 of a component at each
length."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """How many terms of a kind; fractions where they are what is to be expected."""

    emotions: float = 0.0
    partnership: float = 0.0
    conflict: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Wording:
    """What a reply says.

    Attributes:
        words: How many; of another language, how many English ones would say the same.
        terms: The English terms that it holds, or their counterparts.
        assumed: Terms to be counted besides.
    """

    language: str
    words: float
    questions: int
    terms: frozenset[str]
    assumed: Counts


_NO_MORE = Counts()


def _needle(part: str, *, is_spaceless: bool) -> str:
    """What a part of a list looks like in `bare_words`."""
    body = fold(part.strip())
    if is_spaceless:
        return body.strip("-.")
    start, end = ("" if body.startswith("-") else " "), (" " if body.endswith(".") else "")
    return start + body.strip("-.") + end


_SPACELESS = frozenset({"zh", "ja"})
_NEEDLES: Mapping[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    language: tuple(
        (
            term,
            tuple(_needle(part, is_spaceless=language in _SPACELESS) for part in parts.split("|")),
        )
        for term, parts in terms.items()
    )
    for language, terms in TERMS_BY_LANGUAGE.items()
}


def read(response: str, terms: frozenset[str]) -> Wording:
    """Read a reply for the scorer's terms, which are given in English."""
    language = find_language(response)
    if language == ENGLISH:
        words = reply_words(response)
        return Wording(
            language=language,
            words=len(words.in_order),
            questions=words.lowered.count("?"),
            terms=frozenset(term for term in terms if term in words.lowered),
            assumed=_NO_MORE,
        )
    length = english_words(response, language)
    questions = count_questions(response)
    if language == UNKNOWN:
        return Wording(
            language=language,
            words=length,
            questions=questions,
            terms=frozenset(),
            assumed=_mean_counts(length),
        )
    found = _find_terms(response, language)
    return Wording(
        language=language,
        words=length,
        questions=questions,
        terms=found,
        assumed=Counts(partnership=_by_chance(length, found)),
    )


def _find_terms(response: str, language: str) -> frozenset[str]:
    text = bare_words(fold(response))
    if language in _SPACELESS:
        text = text.replace(" ", "")
    return frozenset(
        term for term, needles in _NEEDLES[language] if any(needle in text for needle in needles)
    )


def _by_chance(words: float, found: frozenset[str]) -> float:
    """How many of the terms that are short an English reply of so many words holds by chance."""
    return sum(
        1 - math.exp(-rate * words) for term, rate in CHANCE_PER_WORD.items() if term not in found
    )


def _mean_counts(words: float) -> Counts:
    share = 1 - math.exp(-words / MEAN_WORDS)
    return Counts(
        emotions=MEAN_EMOTIONS * share,
        partnership=MEAN_PARTNERSHIP * share,
        conflict=MEAN_CONFLICT * share,
    )
