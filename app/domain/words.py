"""The words of a text: as filter and scorer count them, and plain, to compare texts by.

Of scripts without spaces a word is a run of letters: `app.domain.scripts`.

Must not know what the words are counted for.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from app.domain.scripts import WORD, fold, is_spaceless, split_word


class ReplyWords(NamedTuple):
    """A reply in lower case, as text, as words in order, and as the set of its words."""

    lowered: str
    in_order: list[str]
    distinct: frozenset[str]


@lru_cache(maxsize=64)
def reply_words(text: str) -> ReplyWords:
    """Lower-case and split a reply; the last 64 are kept."""
    lowered = text.lower()
    in_order = lowered.split()
    return ReplyWords(lowered, in_order, frozenset(in_order))


_PLAIN_WORD = re.compile(r"\w+(?:'\w+)*")


def plain_words(text: str) -> list[str]:
    """The words of a text in order, without case and punctuation; `don't` is one word."""
    folded = fold(text)
    if folded.isascii():
        return _PLAIN_WORD.findall(folded)
    words: list[str] = WORD.findall(folded)
    if not is_spaceless(folded):
        return words
    return [part for word in words for part in split_word(word)]
