"""Scorer `snarc-1`: each term, factor and bound of each component, by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.salience import (
    COMPONENTS,
    Salience,
    ToolUse,
    count_bins,
    distinct_words,
    score,
    scorer_of,
)

FAILED = ToolUse(name="search", is_success=False)
FOUND = ToolUse(name="search", is_success=True)
READ = ToolUse(name="read", is_success=True)

EMOTION = (
    "feel", "sense", "realize", "understand", "appreciate",
    "curious", "interesting", "important", "fascinating", "profound",
)  # fmt: skip
PARTNERSHIP = ("we", "us", "our", "together", "collaborate", "partnership")
SPECIFIC = ("specifically", "precisely", "exactly", "particular")
HEDGING = ("might", "possibly", "perhaps", "unclear", "uncertain", "as an ai")
CONFLICT = (
    "uncertain", "unclear", "not sure", "don't know", "can't verify", "actually", "rather",
    "instead", "correction", "mistake", "realize", "notice", "recognize", "understand",
)  # fmt: skip


def judge(
    response: str = "x",
    *,
    tools: Sequence[ToolUse] = (),
    recent: Sequence[str] = ("y",),
    share: float | None = 0.0,
) -> Salience:
    return score(response, tool_uses=tools, recent_responses=recent, new_word_share=share)


def test_first_response_has_surprise_and_novelty_of_one_half() -> None:
    salience = judge("Hello there.", recent=[], share=None)
    assert (salience.surprise, salience.novelty) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("response", "surprise"),
    [("So. Now. Here", 1), ("We met. Now. Here", 2 / 3), ("We met. It rained", 1 / 2)],
)
def test_surprise_falls_with_the_share_of_known_pieces(response: str, surprise: float) -> None:
    found = judge(response, recent=["Then we said: We met. Bye"]).surprise
    assert found == pytest.approx(surprise)


def test_empty_pieces_count_in_the_total_only() -> None:
    # "We met." has the pieces "We met" and "": one of two is known.
    assert judge("We met.", recent=["We met. Bye."]).surprise == 0.5


def test_surprise_looks_at_the_last_five_responses() -> None:
    recent = ["We met", "a", "b", "c", "d", "e"]
    assert judge("We met", recent=recent).surprise == 1.0
    assert judge("We met", recent=recent[:5]).surprise == 0.0


@pytest.mark.parametrize(
    ("share", "novelty"), [(0.0, 0.0), (0.2, 0.6), (1 / 3, 1.0), (0.5, 1.0), (1.0, 1.0)]
)
def test_novelty_is_three_times_the_new_share_and_capped(share: float, novelty: float) -> None:
    assert judge(share=share).novelty == pytest.approx(novelty)


@pytest.mark.parametrize(
    ("words", "length"), [(1, 0.3), (15, 0.3), (20, 0.4), (40, 0.8), (50, 1.0), (90, 1.0)]
)
def test_a_third_of_arousal_is_words_of_fifty_and_at_least_three_tenths(
    words: int, length: float
) -> None:
    assert judge("x " * words).arousal == pytest.approx(length / 3)


@pytest.mark.parametrize(("marks", "questions"), [(0, 0.0), (1, 0.5), (2, 1.0), (3, 1.0)])
def test_a_third_of_arousal_is_question_marks_of_two(marks: int, questions: float) -> None:
    assert judge("x" + "?" * marks).arousal == pytest.approx((0.3 + questions) / 3)


@pytest.mark.parametrize("term", EMOTION)
def test_every_emotion_term_is_a_ninth_of_arousal(term: str) -> None:
    assert judge(f"X {term.upper()}, {term}!").arousal == pytest.approx((0.3 + 1 / 3) / 3)


def test_three_emotion_terms_are_as_many_as_more() -> None:
    assert judge(" ".join(EMOTION[:2])).arousal == pytest.approx((0.3 + 2 / 3) / 3)
    assert judge(" ".join(EMOTION[:3])).arousal == pytest.approx((0.3 + 1) / 3)
    assert judge(" ".join(EMOTION[:4])).arousal == pytest.approx((0.3 + 1) / 3)


def test_reward_is_three_tenths_for_nothing() -> None:
    assert judge("x").reward == pytest.approx(0.3)


@pytest.mark.parametrize("term", PARTNERSHIP)
def test_every_partnership_term_rewards_half_of_seven_tenths(term: str) -> None:
    assert judge(f"X {term.upper()}, {term}!").reward == pytest.approx(0.3 + 0.35)


@pytest.mark.parametrize("term", SPECIFIC)
def test_every_specific_term_rewards_half_of_three_tenths(term: str) -> None:
    assert judge(f"X {term.upper()}, {term}!").reward == pytest.approx(0.3 + 0.15)


@pytest.mark.parametrize("term", HEDGING)
def test_every_hedging_term_takes_half_of_six_tenths(term: str) -> None:
    found = judge(f"together X {term.upper()}, {term}!").reward
    assert found == pytest.approx(0.3 + 0.35 - 0.3)


@pytest.mark.parametrize(
    ("partnership", "specific", "hedging", "reward"),
    [
        (2, 0, 0, 1.0),
        (3, 0, 0, 1.0),
        (0, 2, 0, 0.6),
        (0, 3, 0, 0.6),
        (1, 2, 0, 0.95),
        (2, 1, 0, 1.0),
        (2, 1, 1, 0.7),  # capped before hedging takes from it
        (2, 0, 2, 0.4),
        (2, 0, 3, 0.4),
        (0, 0, 1, 0.0),
        (0, 0, 2, 0.0),
        (0, 2, 1, 0.3),
    ],
)
def test_two_terms_of_a_kind_reward_as_many_as_more_and_reward_has_two_ends(
    partnership: int, specific: int, hedging: int, reward: float
) -> None:
    terms = (*PARTNERSHIP[3 : 3 + partnership], *SPECIFIC[:specific], *HEDGING[:hedging])
    assert judge(" ".join(("x", *terms))).reward == pytest.approx(reward)


@pytest.mark.parametrize("term", CONFLICT)
def test_every_conflict_term_is_a_sixth(term: str) -> None:
    assert judge(f"X {term.upper()}, {term}!").conflict == pytest.approx(1 / 6)


@pytest.mark.parametrize("count", range(len(CONFLICT) + 1))
def test_six_conflict_terms_are_as_many_as_more(count: int) -> None:
    assert judge(" / ".join(CONFLICT[:count])).conflict == pytest.approx(min(count / 6, 1))


def test_one_tool_call_adds_its_part_to_every_component() -> None:
    plain, used = judge(share=0.1), judge(share=0.1, tools=[FOUND])
    assert judge("y").surprise == 0.0
    assert judge("y", tools=[FOUND]).surprise == pytest.approx(0.2)
    assert used.novelty == pytest.approx(plain.novelty + 0.1)
    assert used.arousal == pytest.approx(plain.arousal + 0.15)
    assert used.reward == pytest.approx(plain.reward + 0.3)
    assert used.conflict == plain.conflict


def test_of_several_tool_calls_names_calls_and_failures_count() -> None:
    plain = judge("y")
    used = judge("y", tools=[FAILED, FOUND, READ, FAILED])
    assert used.surprise == pytest.approx(0.2)
    assert used.novelty == pytest.approx(2 * 0.1)
    assert used.arousal == pytest.approx(plain.arousal + 4 * 0.15)
    assert used.reward == pytest.approx(plain.reward + 0.3)
    assert used.conflict == pytest.approx(2 * 0.2)


def test_a_failed_tool_call_rewards_nothing() -> None:
    assert judge(tools=[FAILED]).reward == pytest.approx(0.3)


def test_no_component_passes_one_however_many_tool_calls_add() -> None:
    response = f"x together partnership {' '.join(CONFLICT[5:])}"
    calls = [*(ToolUse(name=str(n), is_success=False) for n in range(11)), FOUND]
    assert judge(response, tools=calls, share=1.0).components() == dict.fromkeys(COMPONENTS, 1.0)


def test_total_is_the_mean_of_the_five() -> None:
    salience = Salience(surprise=0.1, novelty=0.3, arousal=0.4, reward=0.8, conflict=1.0)
    assert salience.total == pytest.approx(0.52)


@given(
    response=st.text(max_size=400),
    recent=st.lists(st.text(max_size=100), max_size=8),
    share=st.none() | st.floats(0, 1),
    tools=st.lists(st.builds(ToolUse, name=st.text(max_size=5), is_success=st.booleans())),
)
def test_every_component_stays_between_zero_and_one(
    response: str, recent: list[str], share: float | None, tools: list[ToolUse]
) -> None:
    salience = judge(response, tools=tools, recent=recent, share=share)
    assert all(0.0 <= value <= 1.0 for value in salience.components().values())
    assert salience.total == pytest.approx(sum(salience.components().values()) / 5)


def test_components_are_named_in_the_order_of_the_acronym() -> None:
    assert "".join(name[0] for name in COMPONENTS) == "snarc"


def test_a_value_counts_in_its_tenth_and_one_in_the_last() -> None:
    values = [0.0, 0.05, 0.1, 0.3, 0.35, 0.39, 0.95, 1.0]
    assert count_bins(values) == [2, 1, 0, 3, 0, 0, 0, 0, 0, 2]


def test_what_rounding_took_from_a_value_changes_no_bin() -> None:
    assert count_bins([1 - 0.9, 0.1 - 4e-11])[1] == 2
    assert count_bins([0.1 - 1e-10])[0] == 1


@given(st.lists(st.floats(0, 1)))
def test_every_value_counts_once(values: list[float]) -> None:
    assert sum(count_bins(values)) == len(values)


def test_words_of_english_are_what_white_space_divides() -> None:
    said = "Tokyo (東京) is the capital of Japan, and 習近平 is a name."
    assert distinct_words(said) == frozenset(said.split())
    assert "東京" in distinct_words("東京は日本の首都です。")
    assert "東京" in distinct_words("Das ist nicht der Weg nach 東京都庁.")


@pytest.mark.parametrize(
    ("response", "scorer"),
    [
        ("That is not the way.", "snarc-1"),
        ("Das ist nicht der Weg.", "snarc-1-de"),
        ("Non è questo che il mare ti ha detto.", "snarc-1-und"),
    ],
)
def test_scorer_of_another_language_than_english_is_named_by_it(response: str, scorer: str) -> None:
    assert scorer_of(response) == scorer
