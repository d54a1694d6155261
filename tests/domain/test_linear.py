"""Every pattern and search of a text takes time in proportion to its length, and says the same."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import collapse, completeness, replies
from app.domain.collapse import find_collapse
from app.domain.completeness import looks_cut
from app.domain.reply_parts import part_reply
from app.domain.words import reply_words
from tests.patience import pace

LENGTH = 65_536


def test_sentence_ends_are_those_of_the_plain_pattern() -> None:
    plain = re.compile(r"[.!?]+(?=\s|$)")

    @given(st.text(alphabet=".!? a\n", max_size=30))
    def agrees(text: str) -> None:
        assert replies._SENTENCE_END.findall(text) == plain.findall(text)

    agrees()


def test_bracketed_texts_are_those_of_the_plain_pattern() -> None:
    plain = re.compile(r"\s*[\[(]([^\[\]()]*(?:[\[(][^\[\]()]*[\])][^\[\]()]*)*)[\])]?\.?\s*")

    @given(st.text(alphabet="[()]. a", max_size=20))
    def agrees(text: str) -> None:
        found, expected = collapse._BRACKETED.fullmatch(text), plain.fullmatch(text)
        assert (found is None) == (expected is None)
        if found and expected:
            assert found["text"] == expected[1]

    agrees()


def test_code_at_a_lines_end_is_that_of_the_plain_pattern() -> None:
    plain = re.compile(r"\S*(?:://|@|[\\/_=#$%^]|\w[.:]\w|\(\))\S*$")

    @given(st.text(alphabet="a:/@. ()", max_size=20))
    def agrees(text: str) -> None:
        line = text.strip()
        if line and line[-1].isalnum():
            assert completeness._is_closed(line) == (
                plain.search(line) is not None or not any(map(str.isalpha, line))
            )

    agrees()


@pytest.mark.parametrize(
    ("text", "is_error"),
    [
        ("Error: connection refused", True),
        ("error : the http server said\n", True),
        ("error: http\nand another line", False),
        ("error: something else", False),
        ("[two words timed out]", True),
        ("(we failed)", False),
    ],
)
def test_error_texts_are_still_told(text: str, is_error: bool) -> None:
    reason = find_collapse(text, []).reason
    assert (reason is not None and reason.startswith("error_text")) == is_error


@pytest.mark.parametrize(
    "text",
    ["1" * 5000, "9" * LENGTH, "1. one\n2. two\n" + "3" * 5000],
    ids=["number", "long-number", "list"],
)
def test_number_that_python_does_not_read_is_no_item_of_a_list(text: str) -> None:
    assert not looks_cut(text)


SHAPES: dict[str, str] = {
    "a word": "a" * LENGTH,
    "spaces in a bracket": "[" + " " * (LENGTH - 3) + "[x",
    "keywords of errors": ("error: " + "http " * LENGTH)[: LENGTH - 3] + "\n x",
    "empty lines before a number": "a" + "\n" * (LENGTH - 3) + "12",
    "marks": "!" * (LENGTH - 1) + "x",
    "marks and quotes": "!" * (LENGTH // 2) + '"' * (LENGTH // 2 - 1) + "x",
    "spaces": "a" + " " * (LENGTH - 2) + "b",
    "tags": ("<think>a</think>" * LENGTH)[:LENGTH],
    "half tags": "<|channel|>" + " " * (LENGTH - 12) + "x",
    "full stops": "." * LENGTH,
    "words of one letter": ("a b c " * LENGTH)[:LENGTH],
}


@pytest.mark.parametrize(
    "read",
    [
        lambda text: find_collapse(text, []),
        looks_cut,
        part_reply,
        replies._is_question_flood,
    ],
    ids=["collapse", "cut", "parts", "questions"],
)
def test_no_shape_of_a_long_text_takes_long(read: Callable[[str], object]) -> None:
    taken = {}
    for name, text in SHAPES.items():
        part_reply.cache_clear()
        reply_words.cache_clear()
        started = time.thread_time()
        read(text)
        taken[name] = time.thread_time() - started
    # Each took 5 to 140 s by patterns that look twice at what they passed over.
    assert max(taken.values()) < 1.0 * pace(), taken
