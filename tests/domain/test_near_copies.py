"""Near copies: the estimate follows the Jaccard similarity, the same in every process."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.near_copies import (
    BANDS,
    MIN_JACCARD,
    SKETCH_SIZE,
    TakenTexts,
    differs_by_a_sign,
    sketch,
)
from app.domain.words import plain_words

REPLY = [f"word{n}" for n in range(120)]


def changed(words: list[str], count: int) -> list[str]:
    """The same words, of which so many, evenly spread, are others."""
    step = len(words) // max(count, 1)
    places = {n * step for n in range(count)}
    return [f"other{n}" if n in places else word for n, word in enumerate(words)]


def is_near(one: list[str], other: list[str], jaccard: float) -> bool:
    taken = TakenTexts(jaccard)
    taken.add(7, sketch(one))
    return taken.find_near(sketch(other)) == 7


def test_few_other_words_make_a_near_copy_and_many_do_not() -> None:
    assert is_near(REPLY, REPLY, 0.8)
    assert is_near(REPLY, changed(REPLY, 2), 0.8)  # 112 of 124 shingles, 0.90
    assert not is_near(REPLY, changed(REPLY, 12), 0.8)  # 82 of 154, 0.53
    assert not is_near(REPLY, REPLY[::-1], 0.8)


@given(st.integers(0, 2**32), st.floats(MIN_JACCARD, 0.99))
def test_no_pair_is_missed_that_the_sketches_call_near(seed: int, jaccard: float) -> None:
    draw = random.Random(seed)  # noqa: S311  # no secret
    words = [f"w{draw.randrange(10**6)}" for _ in range(draw.randrange(3, 90))]
    others = [word if draw.random() > 0.05 else "other" for word in words]
    agree = sketch(words).jaccard(sketch(others))
    assert is_near(words, others, jaccard) == (agree >= jaccard)


def test_what_is_near_enough_to_be_told_agrees_in_a_whole_band() -> None:
    """More than half of the values agree, so both of some pair do: a band is a pair."""
    assert MIN_JACCARD * SKETCH_SIZE == BANDS == 64


def test_of_several_near_texts_the_first_number_is_found() -> None:
    one, other = ["x", "y", *REPLY[2:]], [*REPLY[:-2], "x", "y"]
    assert not is_near(one, other, 0.95)
    assert is_near(one, REPLY, 0.95)
    assert is_near(other, REPLY, 0.95)
    taken = TakenTexts(0.95)
    taken.add(5, sketch(one))
    taken.add(3, sketch(other))
    assert taken.find_near(sketch(REPLY)) == 3


def test_fewer_than_three_words_are_one_shingle() -> None:
    assert is_near(["a", "b"], ["a", "b"], 1.0)
    assert not is_near(["a", "b"], ["b", "a"], MIN_JACCARD)


@given(st.lists(st.text(max_size=8), max_size=6))
def test_any_words_have_a_sketch_that_is_near_itself(words: list[str]) -> None:
    assert is_near(words, words, 1.0)


def test_what_was_removed_is_near_nothing() -> None:
    taken = TakenTexts(0.8)
    taken.add(1, sketch(REPLY))
    taken.remove(1)
    taken.remove(2)
    assert taken.find_near(sketch(REPLY)) is None


def test_a_sketch_is_the_same_in_every_process() -> None:
    """The number also holds the library to its hashing: another one would judge otherwise."""
    digest = str(sketch(["we", "are", "naïve", "together"]).digest())
    assert hashlib.sha256(digest.encode()).hexdigest()[:16] == "cf2cbea5a5cb9745"


def test_case_and_punctuation_make_no_other_word() -> None:
    assert plain_words("I don’t know -- WHO's Séan?") == ["i", "don't", "know", "who's", "séan"]
    assert plain_words("... !") == []


@pytest.mark.parametrize(
    ("first", "second", "is_one"),
    [
        ("", "", True),
        ("abc", "abc", True),
        ("abc", "abd", True),
        ("abc", "xbc", True),
        ("abc", "axc", True),
        ("abc", "ab", True),
        ("ab", "abc", True),
        ("abc", "bc", True),
        ("abc", "ac", True),
        ("abc", "acb", False),
        ("abc", "a", False),
        ("abcd", "ab", False),
        ("abc", "xbx", False),
        ("abc", "cab", False),
        ("aab", "ab", True),
        ("pump3", "pump4", False),
        ("pump3", "pump", False),
        ("pump3", "pumps", True),
        ("pump12on", "pump1on", False),
        ("pump3on", "pump4on", False),
        ("3pump", "xpump", True),
        ("a3b", "axb", True),
        ("七", "八", True),
    ],
)
def test_texts_differ_by_one_sign_wherever_it_stands(first: str, second: str, is_one: bool) -> None:
    assert differs_by_a_sign(first, second) is is_one
    assert differs_by_a_sign(second, first) is is_one


@given(st.text(alphabet="ab", max_size=12), st.text(alphabet="ab", max_size=12))
def test_one_sign_is_what_edits_say(first: str, second: str) -> None:
    edits = {second}
    for at in range(len(second) + 1):
        edits |= {second[:at] + sign + second[at:] for sign in "ab"}
        edits |= {second[:at] + sign + second[at + 1 :] for sign in ("a", "b", "")}
    assert differs_by_a_sign(first, second) == (first in edits)


def test_what_differs_by_a_sign_is_near_whatever_its_sketch() -> None:
    taken = TakenTexts(0.8)
    made, other = sketch(["a", "b"]), sketch(["c", "d"])
    taken.add(4, made, "wesawtheriver")
    assert taken.find_near(other, "wesawtherover") == 4
    assert taken.find_near(other, "wesawtheriver") == 4
    assert taken.find_near(other, "wesawtherive") == 4
    assert taken.find_near(other, "wesawtherivers") == 4
    assert taken.find_near(other, "wesawthelover") is None
    assert taken.find_near(other, "wesawtheriv") is None
    assert taken.find_near(other) is None
    taken.add(7, made, "七八")
    assert taken.find_near(other, "七") == taken.find_near(other, "七九") == 7
    taken.add(2, made, "wesawtherover")
    assert taken.find_near(other, "wesawtheraver") == 2
    taken.remove(2)
    assert taken.find_near(other, "wesawtheraver") == 4
    taken.remove(4)
    taken.add(5, made)
    assert taken.find_near(other, "wesawtheraver") is None
    assert taken.find_near(other, "") is None


@pytest.mark.parametrize("place", [0, 257, 600, 999])
def test_sign_is_found_wherever_in_a_long_text_it_is(place: int) -> None:
    text = "ab" * 500
    other = f"{text[:place]}x{text[place + 1 :]}"
    assert differs_by_a_sign(text, other)
    assert differs_by_a_sign(f"{text[:place]}x{text[place:]}", text)
    assert not differs_by_a_sign(text, f"y{other[1:-1]}y")
