"""Categories: phrases as whole words in a row, in time linear in the text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from app.domain.categories import (
    DEFAULT_CATEGORIES,
    MAX_CATEGORIES,
    MAX_FLOORS,
    MAX_PHRASE_CHARACTERS,
    MAX_PHRASES,
    Categories,
    CategoryRules,
    check_floors,
)
from app.domain.exchange import MAX_TEXT_CHARACTERS
from app.domain.words import plain_words
from app.errors import InvalidPolicy

RULES: TypeAdapter[dict[str, tuple[str, ...]]] = TypeAdapter(CategoryRules)


def find(text: str, *phrases: str) -> bool:
    return bool(Categories({"it": phrases}).find(plain_words(text)))


def test_a_phrase_is_whole_words_in_a_row_whatever_their_case() -> None:
    assert find("Well: WHO   are\nyou?", "who are you")
    assert find("I don’t know.", "I don't know")
    assert not find("Whose area? You.", "who are you")
    assert not find("who are", "who are you")
    assert not find("I am not here", "I am here")
    assert find("a.b", "a b")


def test_no_phrase_reaches_from_the_prompt_into_the_reply() -> None:
    rules = Categories({"identity": ["who are you"]})
    assert not rules.find(["who", "are"], ["you"])
    assert rules.find(["x"], ["who", "are", "you"]) == {"identity"}


@given(st.text(alphabet="ab ", max_size=30), st.text(alphabet="ab", min_size=1, max_size=3))
def test_a_word_is_found_where_the_text_has_it(text: str, word: str) -> None:
    assert find(text, word) == (word in text.split())


@pytest.mark.parametrize(
    ("category", "text"),
    [
        ("identity", "Who are you, really?"),
        ("uncertainty", "I'm not sure what I noticed."),
        ("reality_testing", "I can't verify that it really happened."),
    ],
)
def test_shipped_rules_recognise_what_they_are_for(category: str, text: str) -> None:
    assert category in Categories(DEFAULT_CATEGORIES).find(plain_words(text))
    assert not Categories(DEFAULT_CATEGORIES).find(plain_words("The basil needs water."))


def test_the_most_and_longest_phrases_do_not_hold_up_the_longest_text() -> None:
    phrase = " ".join(["a"] * (MAX_PHRASE_CHARACTERS // 2))[:-1] + "b"
    rules = {f"c{n}": [phrase] * MAX_PHRASES for n in range(MAX_FLOORS)}
    words = plain_words("a " * (MAX_TEXT_CHARACTERS // 2))
    started = time.process_time()
    assert not Categories(rules).find(words)
    assert time.process_time() - started < 10


@pytest.mark.parametrize(
    "rules",
    [
        {"identity": ["?!"]},
        {"identity": []},
        {"identity": ["x" * (MAX_PHRASE_CHARACTERS + 1)]},
        {"identity": ["x"] * (MAX_PHRASES + 1)},
        {"Not a name": ["x"]},
        {f"c{n}": ["x"] for n in range(MAX_CATEGORIES + 1)},
    ],
)
def test_rules_that_cannot_work_are_refused(rules: dict[str, list[str]]) -> None:
    with pytest.raises(ValidationError):
        RULES.validate_python(rules)


def test_shipped_rules_meet_the_rules_for_rules() -> None:
    RULES.validate_python({name: list(found) for name, found in DEFAULT_CATEGORIES.items()})


def test_floors_that_no_cycle_reaches_are_refused() -> None:
    check_floors({"identity": 0.5, "uncertainty": 0.5}, DEFAULT_CATEGORIES)
    with pytest.raises(InvalidPolicy, match="add up to 110%"):
        check_floors({"identity": 0.6, "uncertainty": 0.5}, DEFAULT_CATEGORIES)
    with pytest.raises(InvalidPolicy, match="No rule recognises the category 'garden'") as refused:
        check_floors({"garden": 0.1}, DEFAULT_CATEGORIES)
    assert refused.value.pointer == "/policy/category_floors/garden"
