"""Folding, splitting and marks of texts in any script."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.scripts import (
    bare_signs,
    bare_words,
    count_questions,
    fold,
    is_abjad,
    is_mostly_spaceless,
    is_spaceless,
    split,
    with_full_stops,
    with_plain_marks,
)
from app.domain.words import plain_words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Straße", "STRASSE"),
        ("İSTANBUL", "istanbul"),
        ("IŞIK", "ışık"),
        ("cafe\u0301", "café"),
        ("ＡＢＣ１２", "abc12"),
        ("ﬁne", "fine"),
        ("ｶﾞ", "ガ"),
        ("don’t", "don't"),
        ("soft\u00adly", "softly"),
        ("a\u200bb\u200cc\u200dd\u2060e\ufefff", "abcdef"),
        ("\u202eabc\u202c", "abc"),
        ("كتـــاب", "كتاب"),
        ("كِتَابٌ", "كتاب"),
        ("أحمد إلى آخر", "احمد الي اخر"),
        ("مدينة", "مدينه"),
        ("Σίσυφος", "ΣΊΣΥΦΟΣ"),
        ("हि\u200dन्दी", "हिन्दी"),
        ("\u1112\u1161\u11ab", "한"),
    ],
)
def test_what_is_one_to_a_reader_folds_to_one(one: str, other: str) -> None:
    assert fold(one) == fold(other)


@pytest.mark.parametrize(("one", "other"), [("की", "का"), ("é", "e"), ("が", "か"), ("й", "и")])
def test_marks_that_make_another_letter_stay(one: str, other: str) -> None:
    assert fold(one) != fold(other)


@given(st.text(max_size=200))
def test_folding_twice_changes_no_ascii_and_split_loses_no_letter(text: str) -> None:
    assert not text.isascii() or fold(text) == text.lower()
    folded = fold(text)
    letters = {sign for sign in folded if sign.isalpha()}
    assert letters <= set("".join(split(folded)))


def test_many_marks_are_folded_in_chunks_and_soon() -> None:
    assert len(fold("a" + "\u0315\u0300" * 30_000)) > 50_000


def test_texts_with_spaces_are_split_as_ever() -> None:
    text = "We met, again -- and  “again”; naïve?"
    assert split(text) == text.split()
    assert split("हिन्दी में।") == ["हिन्दी", "में।"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("我们见面。", ["我们", "们见", "见面"]),
        ("我 很好", ["我", "很好"]),
        ("用API做", ["用", "用API", "API做", "做"]),
        ("我们12点，见", ["我们", "们12", "12点", "点", "见"]),
        ("（好）ok", ["好", "好）ok"]),
        ("สวัสดี", ["สวัส", "วัสด", "ัสดี"]),
        ("ดี", ["ดี"]),
        ("カタ、かな", ["カタ", "かな"]),
    ],
)
def test_scripts_without_spaces_are_split_into_runs(text: str, parts: list[str]) -> None:
    assert split(text) == parts


def test_spaceless_is_told_and_how_much_of_it() -> None:
    assert is_spaceless("a 好")
    assert not is_spaceless("a é 한국어")
    assert is_mostly_spaceless("好好 ab")
    assert not is_mostly_spaceless("好好 abc")
    assert not is_mostly_spaceless("abc")


def test_alphabet_of_consonants_is_told() -> None:
    assert is_abjad("שלום לכולם")
    assert is_abjad("سلام دنیا")
    assert not is_abjad("hello שלום, and so on and on")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("a? b?? c", 3), ("好吗？好", 1), ("كيف؟ لماذا؟", 2), ("⁇", 2), ("⁈⁉‽", 3), ("ቃል፧", 1),
        ("ինչ՞", 1), ("そうですか。はい。", 1), ("Γιατί; Πώς\u037e", 2), ("é; a", 0), ("naïve?", 1),
        ("a; b", 0), ("¿Qué?", 1),
    ],
)  # fmt: skip
def test_question_marks_of_every_script_are_counted(text: str, count: int) -> None:
    assert count_questions(text) == count


def test_ends_of_sentences_of_every_script_are_full_stops() -> None:
    assert with_full_stops("一。二｡三．है।गया॥ہے۔") == "一.二.三.है.गया.ہے."
    assert with_full_stops("a。") == "a."
    assert with_full_stops("A. B!") == "A. B!"


def test_marks_become_plain_ones_with_a_space() -> None:
    assert with_plain_marks("一。二？三！四") == "一. 二? 三! 四"
    assert with_plain_marks("Why?No.") == "Why?No."
    assert with_plain_marks("é⁇x") == "é? ? x"


def test_bare_words_and_signs_keep_letters_marks_and_digits() -> None:
    assert bare_words("J'ai, «vu» 3 x!") == " J ai vu 3 x "
    assert bare_words("हिन्दी, में।") == " हिन्दी में "
    assert bare_words("...") == "  "
    assert bare_signs("我 们，12。") == "我们12"


def test_plain_words_are_whole_in_every_script() -> None:
    assert plain_words("हिन्दी में, बात!") == ["हिन्दी", "में", "बात"]
    assert plain_words("Où l’été?") == ["où", "l'été"]
    assert plain_words("我们见面。") == ["我们", "们见", "见面"]
    assert plain_words("a_b don't") == ["a_b", "don't"]


def test_combining_marks_are_no_punctuation() -> None:
    marks = [
        chr(code) for code in range(0x0900, 0x0D80) if unicodedata.category(chr(code))[0] == "M"
    ]
    assert all(bare_signs(f"क{mark}") == f"क{mark}" for mark in marks)
