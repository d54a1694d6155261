"""What an exchange is about, by phrases that an operator can edit: identity, uncertainty, ...

A rule is a list of phrases. An exchange belongs to a category where the words of one of its phrases
stand in a row in the prompt or in the reply, whatever their case and punctuation. Phrases, not
patterns: finding one takes time linear in the text, so no rule can stop the daemon.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from app.domain.declared import Listed, Share
from app.domain.words import plain_words
from app.errors import InvalidPolicy

MAX_FLOORS = 16
MAX_PHRASES = 64
MAX_PHRASE_CHARACTERS = 100
"""Guesses. As many phrases, as long as that, are looked for in the longest text in 0.1 s."""

MAX_CATEGORIES = 64
"""The shipped ones, the daemon's and an instance's together; only those with a floor cost time."""

_WORD_CHARACTER = re.compile(r"\w")


def _require_word(phrase: str) -> str:
    if _WORD_CHARACTER.search(phrase) is None:
        raise ValueError("has no word to look for")
    return phrase


CategoryName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Phrase = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_PHRASE_CHARACTERS),
    AfterValidator(_require_word),
]
Phrases = Annotated[tuple[Phrase, ...], Listed(min_length=1, max_length=MAX_PHRASES)]
CategoryRules = Annotated[dict[CategoryName, Phrases], Field(max_length=MAX_CATEGORIES)]
CategoryFloors = Annotated[dict[CategoryName, Share], Field(max_length=MAX_FLOORS)]

DEFAULT_CATEGORIES: Mapping[str, tuple[str, ...]] = {
    "identity": (
        "who are you", "what are you", "who am I", "what am I", "your name", "my name",
        "your identity", "my identity", "I am SAGE", "I'm SAGE", "as SAGE", "who raised you",
        "sense of self",
    ),
    "uncertainty": (
        "I don't know", "I do not know", "don't know yet", "not sure", "unsure", "uncertain",
        "uncertainty", "I'm not certain", "I am not certain", "unclear", "can't be sure",
        "cannot be sure", "I can't tell",
    ),
    "reality_testing": (
        "can't verify", "cannot verify", "verify", "is that real", "is it real", "was it real",
        "did that happen", "did that really happen", "really happened", "actually happened",
        "made that up", "made it up", "making it up", "I imagined", "hallucinate", "hallucinated",
        "hallucination", "confabulate", "confabulated", "confabulation", "how do I know",
        "how do you know", "no evidence", "no record of",
    ),
}  # fmt: skip
"""Where to start from. Of 333 real exchanges of Qwen2.5-0.5B they recognise 31, 18 and 33, of 323
of Gemma3-12B 224, 13 and none (`tests/benchmarks/test_curation.py`): a rule knows the words of
those it was written for, so an operator looks at the dry run and edits it."""


class Categories:
    """The rules of some categories, ready to be asked."""

    def __init__(self, rules: Mapping[str, Sequence[str]]) -> None:
        self._phrases = {
            name: [f" {' '.join(plain_words(phrase))} " for phrase in phrases]
            for name, phrases in rules.items()
        }

    def find(self, *texts: Sequence[str]) -> frozenset[str]:
        """The categories of an exchange, given the plain words of each of its texts."""
        if not self._phrases:
            return frozenset()
        # No phrase reaches from one text into the next: a line break is in none.
        words = "\n".join(f" {' '.join(text)} " for text in texts)
        return frozenset(
            name
            for name, phrases in self._phrases.items()
            if any(phrase in words for phrase in phrases)
        )


def check_floors(floors: Mapping[str, float], rules: Mapping[str, Sequence[str]]) -> None:
    """Refuse floors that no cycle could reach. Raises: InvalidPolicy."""
    for name in floors:
        if name not in rules:
            raise InvalidPolicy(
                f"No rule recognises the category {name!r}; there are {', '.join(sorted(rules))}. "
                "Name its phrases in categories.",
                pointer=f"/policy/category_floors/{name}",
            )
    total = math.fsum(floors.values())
    if total > 1:
        raise InvalidPolicy(
            f"The floors add up to {total:.0%} of a cycle; they may be 100% together.",
            pointer="/policy/category_floors",
        )
