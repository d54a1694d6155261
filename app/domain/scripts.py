"""What texts of any script have in common: how they are folded, asked, ended and split.

    fold      letters that are one to a reader become one: NFKC, no case, no invisible characters
    split     words; of scripts that put no space between words, runs of neighbouring letters
              (bigrams, as search engines index Chinese and Japanese by; four of Thai's, whose
              words are as long as English ones)
    marks     what ends a question, and what ends a sentence

Every function takes time in proportion to the text. Must not know what a text is compared for.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

HAN = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
KANA = "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"
THAI = "\u0e01-\u0e3a\u0e40-\u0e4e\u0e80-\u0eff\u1000-\u109f\u1780-\u17d3\ua9e0-\ua9ff\uaa60-\uaa7f"
"""Thai, Lao, Burmese and Khmer."""

RUN = 2
THAI_RUN = 4
"""How many letters in a row stand for a word."""

_SPACELESS = re.compile(rf"[{HAN}{KANA}{THAI}]")
_SPACELESS_RUN = re.compile(rf"(?P<thai>[{THAI}]+)|[{HAN}{KANA}]+")
_ABJAD = re.compile("[\u05d0-\u05f2\u0620-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u0640\u064b-\u065f\u0670\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]+"
)
"""What may be left out without a reader seeing it: joiners and other format characters, soft
hyphens, variation selectors, the tatweel, which only stretches a word, and Arabic's short vowels,
which are mostly not written."""

_ONE_FOR_ALL = (("أ", "ا"), ("إ", "ا"), ("آ", "ا"), ("ٱ", "ا"), ("ى", "ي"), ("ة", "ه"))
"""Arabic letters of which one is often written for the other."""

_CHUNK = re.compile(r"\S{1,256}")
"""What is normalised at a time: putting combining marks into their order is quadratic in their
number."""

_PUNCTUATION_SIGNS = (
    r"\s\x00-/:-@\[-`{-\u00a9\u00ab-\u00b1\u00b4\u00b6-\u00b8\u00bb\u00bf\u00d7\u00f7\u037e\u0387"
    r"\u055a-\u055f\u0589\u05be\u05c0\u05c3\u05f3\u05f4\u060c\u061b\u061e\u061f\u066a-\u066d\u06d4"
    r"\u0964\u0965\u0e2f\u0e46\u0e4f\u0e5a\u0e5b\u104a-\u104f\u1361-\u1368\u17d4-\u17da\u2010-\u2027"
    r"\u2030-\u205e\u2190-\u245f\u2500-\u2bff\u2e00-\u2e7f\u3000-\u3004\u3008-\u3020\u3030\u30fb"
    r"\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\U0001f000-\U0001f0ff"
    r"\U0001f200-\U0001faff"
)
"""Spaces, punctuation, controls and pictures. Not `\\W`: that is also Devanagari's vowels."""

_PUNCTUATION = re.compile(f"[{_PUNCTUATION_SIGNS}]+")


class _Bare(dict[int, int | None]):
    """Takes punctuation out by `str.translate`, many times faster than the pattern."""

    def __missing__(self, code: int) -> int | None:
        kept = None if _PUNCTUATION.match(chr(code)) else code
        if code < 0x10000:
            self[code] = kept
        return kept


_BARE = _Bare()
_BARE_ASCII = {code: None for code in range(128) if _Bare()[code] is None}

_NON_ASCII = re.compile(r"[^\x00-\x7f]+")


WORD = re.compile(f"[^{_PUNCTUATION_SIGNS}]+(?:'[^{_PUNCTUATION_SIGNS}]+)*")
"""A word of any script; `don't` is one."""

_QUESTION_MARKS = re.compile(
    r"[?\uff1f\ufe56\u061f\u2e2e\u2e54\u1367\u055e\ua60f\u203d\u2048\u2049\U00011143]|か[。．｡]"
)
_DOUBLE_MARK = "\u2047"
_GREEK = re.compile("[\u0370-\u03ff\u1f00-\u1fff]")
_GREEK_QUESTION = re.compile("\u037e|(?<=[\u0370-\u037d\u0386-\u03ff\u1f00-\u1fff]);")
_FULL_STOPS = "。．｡।॥۔։።။។᠃"
"""What stands where English puts a full stop."""


@lru_cache(maxsize=64)
def beyond_ascii(text: str) -> str:
    """What of a text is not ASCII, with a space where something was left out.

    Mostly it is little, and every pattern of many ranges is slow on what none of them holds.
    """
    return " ".join(_NON_ASCII.findall(text))


@lru_cache(maxsize=64)
def fold(text: str) -> str:
    """A text as it is compared; the last 64 are kept.

    Without regard to case, to the Unicode form of its letters (`e` and an accent, full-width Latin)
    and to what nobody sees. The dotless i of Turkish is an i, in capitals as in small letters.
    """
    if text.isascii():
        return text.lower()
    text = without_invisible(text)
    if not unicodedata.is_normalized("NFKC", text):
        text = _CHUNK.sub(lambda chunk: unicodedata.normalize("NFKC", chunk[0]), text)
    text = text.replace("İ", "i").casefold().replace("ı", "i").replace("\u2019", "'")
    for letter, written in _ONE_FOR_ALL:
        text = text.replace(letter, written)
    return text


def without_invisible(text: str) -> str:
    """A text without what may be left out of it unseen."""
    if text.isascii() or _INVISIBLE.search(beyond_ascii(text)) is None:
        return text
    return _INVISIBLE.sub("", text)


def is_spaceless(text: str) -> bool:
    """Whether a text holds letters of a script that puts no space between words."""
    return not text.isascii() and _SPACELESS.search(beyond_ascii(text)) is not None


def is_mostly_spaceless(text: str) -> bool:
    """Whether half of a text's signs or more are of such a script."""
    return is_spaceless(text) and 2 * len(_SPACELESS.findall(text)) >= sum(map(len, text.split()))


def is_abjad(text: str) -> bool:
    """Whether a text is written in an alphabet of consonants: Hebrew's, Arabic's and the like."""
    return len(_ABJAD.findall(text)) > len(text) // 3


def split(text: str) -> list[str]:
    """The words of a text between white space, as they are written; of the spaceless, runs.

    A text without spaceless scripts is split as `str.split` does.
    """
    if not is_spaceless(text):
        return text.split()
    return [part for word in text.split() for part in split_word(word)]


def split_word(word: str) -> list[str]:
    """A word in parts: the runs of its spaceless letters, all of a shorter stretch, and the rest.

    The rest, a number say, makes runs with the letters beside it. Punctuation alone is no part.
    """
    parts: list[str] = []
    at, before = 0, ""
    for stretch in _SPACELESS_RUN.finditer(word):
        letters = stretch[0]
        parts += _rest(word[at : stretch.start()], before, letters[0])
        length = THAI_RUN if stretch["thai"] else RUN
        parts += [letters[i : i + length] for i in range(max(len(letters) - length + 1, 1))]
        at, before = stretch.end(), letters[-1]
    return parts + _rest(word[at:], before, "")


def _rest(text: str, before: str, after: str) -> list[str]:
    """What stands between spaceless stretches, unless it is punctuation alone."""
    if not _PUNCTUATION.sub("", text):
        return []
    return [run for run in (before + text, text + after) if run != text] or [text]


def bare_words(text: str) -> str:
    """A text with one space in place of all that is no letter, digit or mark, and at both ends."""
    return f" {_PUNCTUATION.sub(' ', text).strip()} "


def count_questions(text: str) -> int:
    """How many questions a text asks: the question marks of every script.

    Greek's is written `;`. A Japanese question ends on `か。` as well.
    """
    if text.isascii():
        return text.count("?")
    beyond = beyond_ascii(text)
    marks = text.count("?") + 2 * text.count(_DOUBLE_MARK)
    marks += len(_QUESTION_MARKS.findall(beyond))
    return marks + (len(_GREEK_QUESTION.findall(text)) if _GREEK.search(beyond) else 0)


def bare_signs(text: str) -> str:
    """A text without spaces and punctuation."""
    return text.translate(_BARE_ASCII if text.isascii() else _BARE)


def with_plain_marks(text: str) -> str:
    """A text whose sentences end on `.`, `?` or `!` and a space, whatever their script."""
    if text.isascii():
        return text
    text = _QUESTION_MARKS.sub("? ", text.replace(_DOUBLE_MARK, "??"))
    text = _GREEK_QUESTION.sub("? ", text)
    for mark in _FULL_STOPS:
        text = text.replace(mark, ". ")
    return text.replace("！", "! ")


def with_full_stops(text: str) -> str:
    """A text in which every sentence that ends as its script ends one ends on `.`."""
    if not text.isascii():
        for mark in _FULL_STOPS:
            text = text.replace(mark, ".")
    return text
