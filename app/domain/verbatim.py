"""Verbatim copies: whether a text repeats another word for word, and their removal from JSON.

Erasing an experience must not leave it behind in a reply that a cycle's report shows. A paraphrase
is not found here; a copy of `COPY_WORDS` words in a row is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

COPY_WORDS = 8
"""So many words in a row are a copy. A guess: phrases of fewer words come back by chance."""

SHORTEST_SOURCE_WORDS = 4
"""A shorter text, "Who are you?", says nothing of whom it came from and is not looked for."""

REMOVED = "[removed: it repeated an experience that was erased]"

_WORD = re.compile(r"\w+")


def holds_copy(text: str, source: str) -> bool:
    """Whether `text` holds `COPY_WORDS` words of `source` in a row, or all of a shorter source."""
    wanted = _words(source)
    length = min(COPY_WORDS, len(wanted))
    if length < SHORTEST_SOURCE_WORDS:
        return False
    runs = {tuple(wanted[at : at + length]) for at in range(len(wanted) - length + 1)}
    words = _words(text)
    return any(tuple(words[at : at + length]) in runs for at in range(len(words) - length + 1))


def without_copies(value: Any, sources: Sequence[str]) -> Any:
    """The JSON value with every text that copies a source replaced by `REMOVED`.

    Texts under a key `prompt` stay: they are the settings' probe prompts.
    """
    if isinstance(value, str):
        return REMOVED if any(holds_copy(value, source) for source in sources) else value
    if isinstance(value, Mapping):
        return {
            key: item if key == "prompt" else without_copies(item, sources)
            for key, item in value.items()
        }
    if isinstance(value, Sequence):
        return [without_copies(item, sources) for item in value]
    return value


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
