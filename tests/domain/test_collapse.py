"""The collapse filter: what passes, what does not, and why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.collapse import find_collapse, jaccard

REPLY = "we went to the river and looked at the water for a long quiet while"


def words(first: int, last: int) -> str:
    return " ".join(f"w{n}" for n in range(first, last))


def test_new_reply_passes() -> None:
    finding = find_collapse(REPLY, ["something else entirely"])
    assert not finding.is_filtered
    assert finding.similarity == 0.0


def test_the_first_reply_of_all_is_similar_to_none() -> None:
    finding = find_collapse(REPLY, [])
    assert (finding.reason, finding.similarity) == (None, 0.0)


def test_near_copy_of_one_of_the_last_ten_is_filtered() -> None:
    near = REPLY.replace("quiet", "silent")
    finding = find_collapse(near, [REPLY, *["other words here"] * 9])
    assert finding.is_filtered
    assert finding.similarity == pytest.approx(13 / 15)


def test_copy_of_the_eleventh_last_passes() -> None:
    assert not find_collapse(REPLY, [REPLY, *[f"other {n}" for n in range(10)]]).is_filtered


def test_word_overlap_is_filtered_from_0_85_on() -> None:
    # 17 of 20 words are 0.85, 16 of 19 are 0.842.
    finding = find_collapse(words(0, 17), [words(0, 20)])
    assert finding.reason == "similar: word overlap 0.85 with a recent reply, below 0.85 allowed"
    assert not find_collapse(words(0, 16), [words(0, 19)]).is_filtered


def test_the_most_similar_of_the_recent_replies_counts() -> None:
    assert find_collapse("a b", ["a b c d", "a b c", "d"]).similarity == pytest.approx(2 / 3)


def test_five_words_three_times_are_a_loop() -> None:
    def said(times: int, phrase: str) -> str | None:
        return find_collapse(" ".join(f"{phrase} x{n}" for n in range(times)), []).reason

    assert said(2, "one two three four five") is None
    assert said(9, "one two three four") is None
    assert said(4, "one two three four five") == (
        "repetition: a phrase of 5 words occurs 4 times, fewer than 3 allowed"
    )
    assert said(3, "one two three four five") is not None


def test_of_several_loops_the_longest_is_told() -> None:
    text = "a b c d e, " * 2 + "a b c d e. " + "f g h i j; " * 4
    assert "occurs 4 times" in str(find_collapse(text, []).reason)


@pytest.mark.parametrize("count", range(1, 9))
def test_short_reply_without_repetition_passes(count: int) -> None:
    assert find_collapse(words(0, count), []).reason is None


def test_more_than_ten_question_marks_are_a_flood() -> None:
    def asked(marks: int) -> str | None:
        return find_collapse(" ".join(f"w{n}?" for n in range(marks)), []).reason

    assert asked(10) is None
    assert asked(11) == "question_flood: 11 question marks, at most 10"


@pytest.mark.parametrize(
    "text",
    [
        "[error] time-out", "  [silence]", "No response from model", "no response", "No response.",
        "[SAGE processing error: timeout]", "[SAGE processing error", "[OllamaIRP: HTTP 500]",
        "[Daemon unreachable at 127.0.0.1:8750]", "(no response — connection error)",
        "[error: timeout (attempt 3)]", "(model unavailable)", "Error: connection refused",
        "Traceback (most recent call last):\n  File", "<think>hm</think>[Request timed out]",
    ],
)  # fmt: skip
def test_what_a_runner_leaves_in_place_of_a_reply_is_filtered(text: str) -> None:
    assert str(find_collapse(text, []).reason).startswith("error_text")


@pytest.mark.parametrize(
    "text",
    [
        "[smiles softly] I am here.", "[smiles]", "(laughs)", "[See the log](https://example.org)",
        "[Error](https://example.org) explains it.", "[x] done", "[ ] to do", "[Sprout]: hello",
        "There was no response from the pump, so we looked again.", "[I failed you, I know.]",
        "No response is also a response.", "[Error handling] is what we talked about.",
        "Error: division by zero is what Python says.", "(I made an error)", "[1] A source.",
    ],
)  # fmt: skip
def test_brackets_and_the_words_of_errors_alone_are_replies(text: str) -> None:
    assert find_collapse(text, []).reason is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<think>We wonder", "unfinished_thinking"),
        ("<think>We wonder.</think>", "nothing_said"),
        ("<tool_call>{}</tool_call>", "nothing_said"),
        ("<|im_end|>", "control_tokens"),
        ("<think>hm</think><|im_start|>assistant\n", "control_tokens"),
    ],
)
def test_reply_in_which_nothing_is_said_is_filtered(text: str, reason: str) -> None:
    assert str(find_collapse(text, []).reason).startswith(f"{reason}: ")


def test_answers_alone_are_compared_whatever_was_thought_before_them() -> None:
    earlier = [f"<think>{REPLY} in other words, thought about at length</think>something else"]
    assert find_collapse(REPLY, earlier).reason is None
    copy = f"<think>quite another thought</think>{REPLY}"
    assert "similar" in str(find_collapse(copy, [REPLY]).reason)


@given(st.frozensets(st.text(max_size=3)), st.frozensets(st.text(max_size=3)))
def test_jaccard_is_what_both_have_of_what_any_has(
    first: frozenset[str], second: frozenset[str]
) -> None:
    both, any_of_them = first & second, first | second
    expected = len(both) / len(any_of_them) if any_of_them else 0.0
    assert jaccard(first, second) == jaccard(second, first) == expected


@pytest.mark.parametrize(
    "response", ["\u200b\u200b", "\ufeff \u2060", "\x01\x02", "<think>We.</think>\u200d"]
)
def test_reply_of_nothing_that_shows_is_filtered(response: str) -> None:
    finding = find_collapse(response, [])
    assert finding.is_filtered
    assert str(finding.reason).startswith("nothing_said: ")


@pytest.mark.parametrize("response", ["?", "😀", "7", "\u200bja", "\ue000", "\U0001fffd"])
def test_reply_of_one_sign_that_shows_is_none_of_these(response: str) -> None:
    assert not str(find_collapse(response, []).reason).startswith("nothing_said")
