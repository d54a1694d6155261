"""A reply as it is compared with others: folded, in words or runs of letters, and without spaces.

Must not know when two replies are alike.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from app.domain.language import ENGLISH, find_language
from app.domain.scripts import bare_signs, fold, split, without_invisible
from app.domain.words import reply_words


class ComparedWords(NamedTuple):
    """A reply as it is compared with others: its words in order, as a set, and without spaces."""

    in_order: list[str]
    distinct: frozenset[str]
    signs: str


@lru_cache(maxsize=64)
def compared_words(text: str) -> ComparedWords:
    """Fold and split a reply; the last 64 are kept.

    English words are taken as they always were, in lower case, but for what nobody sees in them:
    similarities stay what they are.
    """
    if find_language(text) == ENGLISH:
        words = reply_words(without_invisible(text))
        return ComparedWords(words.in_order, words.distinct, bare_signs(fold(text)))
    folded = fold(text)
    in_order = split(folded)
    return ComparedWords(in_order, frozenset(in_order), bare_signs(folded))
