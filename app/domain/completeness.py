"""Whether a reply came to its end, or was cut at a length cap.

A cut reply is kept, but its end of turn is not learned: training on it taught a model to stop in
the middle of a sentence. And what is taken for cut although it is complete teaches never to stop.
So where the runtime says how the reply ended, that counts; without a word of it only strong signs.
"""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum

from app.domain.reply_parts import said_in

MIN_CUT_WORDS = 40
"""A reply shorter than that met no cap: the 167 replies of 656 real ones that were cut at one have
at least 92 words (`tests/domain/test_completeness.py` on the real exchanges)."""

MIN_CUT_LETTERS = 80
"""The same for scripts that write no spaces between words. A guess."""

MIN_ENDED_SENTENCES = 2
"""From so many on a writer is one that ends its sentences. A guess."""


class FinishReason(StrEnum):
    """How a reply ended, in the words of the OpenAI form."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    FUNCTION_CALL = "function_call"
    CONTENT_FILTER = "content_filter"


_CUT = frozenset({FinishReason.LENGTH, FinishReason.CONTENT_FILTER})

_OPEN_ENDS = frozenset(",،、，;-–—&+=/\\([{<«“‘„「『（【")
"""Nobody ends on these: the next word was to come."""

_OPEN_WORDS_BY_LANGUAGE = (
    "a an the and or but nor because although whereas "
    "der die das den dem ein eine einen einem und oder aber weil dass "
    "le la les un une des et ou mais "
    "el los las unos unas y o pero porque "
    "os as um uma e mas "
    "и или но а потому "
    "ve veya ama çünkü"
)
_OPEN_WORDS = frozenset(_OPEN_WORDS_BY_LANGUAGE.split())
"""Articles and conjunctions, which need what follows them."""

_SENTENCE_END = re.compile(r"[.!?…؟।۔](?=[\s\"'”’»)*_]|$)|[。！？]")
_LIST_ITEM = re.compile(r"\s*(?:[-*+•▪◦]|\(?\w{1,3}[.)])\s")
_CODE_OR_ADDRESS = re.compile(r"://|@|[\\/_=#$%^]|\w[.:]\w|\(\)")
"""In a line's last word."""

MAX_NUMBER_DIGITS = 6
"""No list is longer than that; and Python reads no number of more than 4,300 digits."""


def is_cut(response: str, finish_reason: FinishReason | None) -> bool:
    """Whether a reply was cut; by strong signs alone where its runtime did not say."""
    if finish_reason is not None:
        return finish_reason in _CUT
    return looks_cut(said_in(response))


def looks_cut(text: str) -> bool:
    """Whether a text shows strong signs of a cut.

    A fence of code that is never closed; an end on a comma, an opening bracket or a conjunction;
    or, in a long text whose sentences end with a mark, a last one without: but not where it ends on
    a short line, a number, an address or a piece of code.
    """
    text = text.strip()
    line = text[text.rfind("\n") + 1 :]
    if not text or text.count("```") % 2:
        return bool(text)
    if text[-1] in _OPEN_ENDS:
        # "--" signs a name, "<3" and "==" close as well as they open.
        return not text.endswith(("--", "==", "<3"))
    if _is_next_number(text, line):
        return True
    if _is_closed(line):
        return False
    words = text.split()
    return (len(words) > 1 and words[-1] in _OPEN_WORDS) or _breaks_its_habit(text, words, line)


def _is_closed(line: str) -> bool:
    """Whether a line ends on a mark of any script, or on what needs none: code, a number."""
    last = line[-1]
    is_mark = not last.isalnum() and unicodedata.category(last)[0] in "PSCMZ"
    is_prose = any(letter.isalpha() for letter in line)
    return is_mark or not is_prose or _CODE_OR_ADDRESS.search(line.rsplit(None, 1)[-1]) is not None


def _breaks_its_habit(text: str, words: list[str], line: str) -> bool:
    is_spaceless = len(text) > MIN_CUT_LETTERS and len(text) > 12 * len(words)
    if len(words) < MIN_CUT_WORDS and not is_spaceless:
        return False
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    if len(ends) < MIN_ENDED_SENTENCES:
        return False
    if text[: len(text) - len(line)].rstrip().endswith(",") and len(line.split()) <= 3:
        return False  # a name under a letter
    # Items of a list and headings end without a mark, where the line is one of several like it.
    is_item = line != text and (_LIST_ITEM.match(line) or len(line.split()) < 8)
    return not (is_item and _others_end_openly(text, line))


def _is_next_number(text: str, line: str) -> bool:
    """Whether the last line is the number alone of the item that a list would go on with."""
    number = line.strip()
    if not number.isdecimal() or len(number) > MAX_NUMBER_DIGITS or int(number) < 2:
        return False
    # Not `^\s*`, which would pass over all of the empty lines after each of them.
    earlier = rf"^[^\S\n]*+{int(number) - 1}[.)]\s"
    return re.search(earlier, text, re.MULTILINE) is not None


def _others_end_openly(text: str, line: str) -> bool:
    """Whether of the earlier lines of its kind most end without a mark."""
    is_item = _LIST_ITEM.match(line) is not None
    like = [
        earlier.rstrip()
        for earlier in text.splitlines()[:-1]
        if earlier.strip() and (_LIST_ITEM.match(earlier) is not None) == is_item
    ]
    open_ends = sum(1 for earlier in like if not _SENTENCE_END.search(earlier[-2:]))
    return 2 * open_ends > len(like)
