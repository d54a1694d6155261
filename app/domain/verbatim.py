"""Verbatim copies: whether a text repeats another word for word, and their removal from JSON.

Erasing an experience must not leave it behind, neither in a reply that a cycle's report shows nor
in the history that later exchanges carry. A paraphrase is not found here; a copy is, whatever its
case, its punctuation and the Unicode form of its letters. Scripts that put no space between words
are compared letter by letter.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

COPY_WORDS = 8
"""So many words in a row are a copy. A guess: phrases of fewer words come back by chance."""

SHORTEST_SOURCE_WORDS = 4
"""A shorter text, "Who are you?", says nothing of whom it came from and is not looked for."""

PART_WORDS = 24
"""So many words in a row of a longer text are a copy of it, in what quotes at length. A guess."""

REMOVED = "[removed: it repeated an experience that was erased]"

_BLOCK_WORDS = COPY_WORDS // 2
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff"
"""Thai, Lao, Burmese, Khmer, kana and Han."""

_ASCII_WORD = re.compile(r"\w+", re.ASCII)
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


def holds_copy(text: str, source: str) -> bool:
    """Whether `text` holds `COPY_WORDS` words of `source` in a row, or all of a shorter source."""
    return _holds_run(split(text), split(source), COPY_WORDS)


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


def fold(text: str) -> str:
    """A text without what its copies may differ in: case, and the form of its letters."""
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()


def split(text: str) -> list[str]:
    """The words of a text in order, as copies are compared by."""
    return (_ASCII_WORD if text.isascii() else _WORD).findall(fold(text))


@dataclass(frozen=True, slots=True)
class Source:
    """A text whose copies are sought, split once.

    Attributes:
        words: In order.
        blocks: Words of which every copy holds at least one block, all of it; for a first look.
    """

    words: tuple[str, ...]
    blocks: tuple[frozenset[str], ...]

    @classmethod
    def of(cls, text: str) -> Source:
        """Split a text."""
        words = tuple(split(text))
        blocks = [words[at : at + _BLOCK_WORDS] for at in range(0, len(words), _BLOCK_WORDS)]
        if len(words) >= COPY_WORDS:
            blocks = [block for block in blocks if len(block) == _BLOCK_WORDS]
        elif words:
            blocks = [words]
        return cls(words, tuple(map(frozenset, blocks)))

    @property
    def is_telling(self) -> bool:
        """Whether it is long enough to say whom it came from."""
        return len(self.words) >= SHORTEST_SOURCE_WORDS

    @property
    def is_unmistakable(self) -> bool:
        """Whether it is so long that whoever says all of it repeats it."""
        return len(self.words) >= COPY_WORDS

    def may_stand_in(self, known: AbstractSet[str]) -> bool:
        """Whether a text of these words can hold a copy; false only where it surely holds none."""
        return any(block <= known for block in self.blocks)

    def is_whole_in(self, words: Sequence[str]) -> bool:
        """Whether all of it stands in a text, in a row."""
        return _holds_run(words, self.words, len(self.words))

    def is_copied_in(self, words: Sequence[str]) -> bool:
        """Whether a text quotes it: all of it, half of it in a row or `PART_WORDS`; or is a part.

        Less than that two texts of one model may share by its habits of speech.
        """
        length = max(COPY_WORDS, min(PART_WORDS, len(self.words) // 2))
        if _holds_run(words, self.words, length):
            return True
        return len(words) >= COPY_WORDS and _holds_run(self.words, words, len(words))


def _holds_run(words: Sequence[str], wanted: Sequence[str], length: int) -> bool:
    """Whether so many of the wanted words, or all of fewer, stand in a row among the words."""
    length = min(length, len(wanted))
    if length < SHORTEST_SOURCE_WORDS or len(words) < length:
        return False
    known = set(words)
    runs = {
        run
        for at in range(len(wanted) - length + 1)
        if known.issuperset(run := tuple(wanted[at : at + length]))
    }
    return bool(runs) and any(
        tuple(words[at : at + length]) in runs for at in range(len(words) - length + 1)
    )
