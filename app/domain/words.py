"""The words of a reply, split once: filter and scorer look at them, and the next ten replies again.

Must not know what the words are counted for.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple


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
