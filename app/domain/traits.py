"""What curation looks at: an instance's rules, and the traits of an exchange that they ask for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.domain.categories import Categories
from app.domain.language import find_language, signs_per_word
from app.domain.near_copies import sketch
from app.domain.policy import SleepPolicy
from app.domain.scripts import bare_signs, fold, is_mostly_spaceless
from app.domain.words import plain_words

if TYPE_CHECKING:
    from rensa import RMinHash

MIN_COMPARED_WORDS = 8
"""Shorter replies are no copies of each other: "No." to fifty prompts is fifty lessons, and in the
shingles of so few words one other word is enough to tell two apart. A guess."""

PATTERN_WORDS = 4
"""Replies that begin with the same words so far follow one pattern. Of 323 real exchanges of
Gemma3-12B the most frequent such beginning opens 29, of 333 of Qwen2.5-0.5B 11
(`tests/benchmarks/test_curation.py`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Traits:
    """What curation needs to know of an experience, besides its salience.

    Attributes:
        pattern: How the reply begins; None for a reply without words.
        sketch: Of the reply; None where near copies are no matter, or the reply is short.
        signs: The reply without case, spaces and punctuation, where there is a sketch.
    """

    prompt_key: str
    phase: str | None
    pattern: str | None = None
    categories: frozenset[str] = frozenset()
    sketch: RMinHash | None = None
    signs: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class CurationRules:
    """The rules of an instance; the defaults are none. As in `SleepPolicy`.

    Attributes:
        categories: The phrases of those categories that have a floor.
    """

    max_prompt_share: float = 1.0
    max_phase_share: float = 1.0
    max_pattern_share: float = 1.0
    near_duplicate_jaccard: float = 1.0
    category_floors: Mapping[str, float] = field(default_factory=dict)
    categories: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, policy: SleepPolicy) -> CurationRules:
        """The rules that a policy names."""
        floors = {name: floor for name, floor in policy.category_floors.items() if floor}
        return cls(
            max_prompt_share=policy.max_prompt_share,
            max_phase_share=policy.max_phase_share,
            max_pattern_share=policy.max_pattern_share,
            near_duplicate_jaccard=policy.near_duplicate_jaccard,
            category_floors=floors,
            categories={name: tuple(policy.categories.get(name, ())) for name in floors},
        )

    @property
    def compares_replies(self) -> bool:
        """Whether replies can be too near to each other."""
        return self.near_duplicate_jaccard < 1

    @property
    def is_none(self) -> bool:
        """Whether there is no rule, so that traits are no matter."""
        return self == CurationRules()


class TraitReader:
    """Finds the traits that some rules ask for; what they do not ask for is not computed."""

    def __init__(self, rules: CurationRules) -> None:
        self._is_sketched = rules.compares_replies
        self._categories = Categories(rules.categories) if rules.categories else None

    def read(self, *, prompt: str, response: str, phase: str | None) -> Traits:
        """The traits of an exchange."""
        words = plain_words(response)
        per_word = words_per_word(response)
        is_sketched = self._is_sketched and len(words) >= MIN_COMPARED_WORDS * per_word
        return Traits(
            prompt_key=prompt_key(prompt),
            phase=phase or None,
            pattern=" ".join(words[: round(PATTERN_WORDS * per_word)]) or None,
            categories=self._categories.find(plain_words(prompt), words)
            if self._categories
            else frozenset(),
            sketch=sketch(words) if is_sketched else None,
            signs=bare_signs(fold(response)) if is_sketched else "",
        )


def words_per_word(text: str) -> float:
    """How many of a text's `plain_words` stand for one: 1, but where every letter begins a run."""
    return signs_per_word(text, find_language(text)) if is_mostly_spaceless(text) else 1.0


def prompt_key(prompt: str) -> str:
    """Prompts that differ in case and white space alone are one; the key holds no text."""
    return hashlib.sha256(" ".join(prompt.casefold().split()).encode()).hexdigest()
