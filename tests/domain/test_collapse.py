"""The collapse filter: what passes, what does not, and why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.collapse import find_collapse, jaccard, looks_truncated

REPLY = "we went to the river and looked at the water for a long quiet while"


def test_new_reply_passes() -> None:
    finding = find_collapse(REPLY, ["something else entirely"])
    assert not finding.is_filtered
    assert finding.similarity == 0.0


def test_near_copy_of_one_of_the_last_ten_is_filtered() -> None:
    near = REPLY.replace("quiet", "silent")
    finding = find_collapse(near, [REPLY, *["other words here"] * 9])
    assert finding.is_filtered
    assert finding.similarity == pytest.approx(13 / 15)
    assert "similar" in str(finding.reason)


def test_copy_of_the_eleventh_last_passes() -> None:
    assert not find_collapse(REPLY, [REPLY, *[f"other {n}" for n in range(10)]]).is_filtered


@pytest.mark.parametrize(("repeats", "is_filtered"), [(2, False), (3, True)])
def test_five_words_three_times_are_a_loop(repeats: int, is_filtered: bool) -> None:
    text = " ".join(f"one two three four five x{n}" for n in range(repeats))
    assert find_collapse(text, []).is_filtered is is_filtered


@pytest.mark.parametrize(("marks", "is_filtered"), [(10, False), (11, True)])
def test_more_than_ten_question_marks_are_a_flood(marks: int, is_filtered: bool) -> None:
    text = " ".join(f"w{n}?" for n in range(marks))
    assert find_collapse(text, []).is_filtered is is_filtered


@pytest.mark.parametrize("text", ["[error] time-out", "  [silence]", "No response from model"])
def test_error_text_is_filtered(text: str) -> None:
    assert "error_text" in str(find_collapse(text, []).reason)


@pytest.mark.parametrize(
    ("text", "is_truncated"),
    [
        ("It ends well.", False),
        ('She said "yes"', False),
        ("Does it?", False),
        ("A list:\n- **bold**", False),
        ("Good night \U0001f319", False),
        ("with patience, and", True),
        ("with patience,", True),
        ("   ", False),
        ("我们一起学习。", False),
        ("我们一起学", True),
        ("Well done \U0001f44d\U0001f3fd", False),
    ],
)
def test_reply_without_closing_punctuation_looks_truncated(text: str, is_truncated: bool) -> None:
    assert looks_truncated(text) is is_truncated


@given(st.frozensets(st.text(max_size=3)), st.frozensets(st.text(max_size=3)))
def test_jaccard_is_symmetric_and_bounded(first: frozenset[str], second: frozenset[str]) -> None:
    assert jaccard(first, second) == jaccard(second, first)
    assert 0.0 <= jaccard(first, second) <= 1.0
    assert jaccard(first, first) == (1.0 if first else 0.0)
