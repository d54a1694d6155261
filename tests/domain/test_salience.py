"""Scorer `snarc-1`: each component by hand, and equal to the stored values of real exchanges."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.salience import COMPONENTS, ToolUse, score

FAILED = ToolUse(name="search", is_success=False)
FOUND = ToolUse(name="search", is_success=True)
READ = ToolUse(name="read", is_success=True)


def test_first_response_has_surprise_and_novelty_of_one_half() -> None:
    salience = score("Hello there.", recent_responses=[], new_word_share=None)
    assert (salience.surprise, salience.novelty) == (0.5, 0.5)


def test_surprise_falls_with_the_share_of_known_pieces() -> None:
    salience = score(
        "We met. It rained", recent_responses=["Then we said: We met. Bye"], new_word_share=1.0
    )
    assert salience.surprise == 0.5


def test_empty_pieces_count_in_the_total_only() -> None:
    # "We met." has the pieces "We met" and "": one of two is known.
    salience = score("We met.", recent_responses=["We met. Bye."], new_word_share=0.0)
    assert salience.surprise == 0.5


def test_surprise_looks_at_the_last_five_responses() -> None:
    recent = ["We met", "a", "b", "c", "d", "e"]
    assert score("We met", recent_responses=recent, new_word_share=0.0).surprise == 1.0
    assert score("We met", recent_responses=recent[:5], new_word_share=0.0).surprise == 0.0


def test_novelty_is_three_times_the_new_share_and_capped() -> None:
    def novelty(share: float) -> float:
        return score("x", recent_responses=["y"], new_word_share=share).novelty

    assert novelty(0.2) == pytest.approx(0.6)
    assert novelty(0.5) == 1.0


def test_arousal_is_the_mean_of_length_questions_and_emotion() -> None:
    response = "I feel curious, is it so?"  # 6 words -> 0.3, 1 question -> 0.5, 2 terms -> 2/3
    salience = score(response, recent_responses=["y"], new_word_share=0.0)
    assert salience.arousal == pytest.approx((0.3 + 0.5 + 2 / 3) / 3)


@pytest.mark.parametrize(
    ("response", "reward"),
    [
        ("Nothing.", 0.3),
        ("Only together.", 0.65),
        ("Precisely together, in partnership.", 1.0),
        ("Perhaps it might be.", 0.0),
        ("As an AI I find it so.", 0.0),
    ],
)
def test_reward_of_partnership_specifics_and_hedging(response: str, reward: float) -> None:
    # "as an ai" hedges once: 0.3 - 0.6 * 0.5 = 0.
    found = score(response, recent_responses=["y"], new_word_share=0.0).reward
    assert found == pytest.approx(reward)


def test_conflict_counts_each_term_once() -> None:
    salience = score(
        "Actually, actually, I notice a mistake.", recent_responses=["y"], new_word_share=0.0
    )
    assert salience.conflict == pytest.approx(3 / 6)


def test_tool_calls_add_and_are_capped() -> None:
    plain = score("x", recent_responses=["y"], new_word_share=0.0)
    used = score("x", tool_uses=[FAILED, FOUND, READ], recent_responses=["x y"], new_word_share=0.0)
    assert used.surprise == pytest.approx(0.2)
    assert used.novelty == pytest.approx(0.2)
    assert used.arousal == pytest.approx(plain.arousal + 0.45)
    assert used.reward == pytest.approx(plain.reward + 0.3)
    assert used.conflict == pytest.approx(0.2)


@given(
    response=st.text(max_size=400),
    recent=st.lists(st.text(max_size=100), max_size=8),
    share=st.none() | st.floats(0, 1),
    tools=st.lists(st.builds(ToolUse, name=st.text(max_size=5), is_success=st.booleans())),
)
def test_every_component_stays_between_zero_and_one(
    response: str, recent: list[str], share: float | None, tools: list[ToolUse]
) -> None:
    salience = score(response, tool_uses=tools, recent_responses=recent, new_word_share=share)
    assert all(0.0 <= value <= 1.0 for value in salience.components().values())
    assert salience.total == pytest.approx(sum(salience.components().values()) / 5)


@pytest.mark.parametrize("name", ["exchanges-gemma3-12b.json", "exchanges-qwen2.5-0.5b.json"])
def test_text_components_equal_those_of_every_real_exchange(shared_data: Path, name: str) -> None:
    exchanges = json.loads((shared_data / name).read_text())
    assert len(exchanges) > 300
    for exchange in exchanges:
        salience = score(exchange["response"], recent_responses=["y"], new_word_share=0.0)
        for component in ("arousal", "reward", "conflict"):
            stored = exchange["salience"][component]
            assert getattr(salience, component) == pytest.approx(stored, abs=1e-9)


def test_components_are_named_in_the_order_of_the_acronym() -> None:
    assert "".join(name[0] for name in COMPONENTS) == "snarc"
