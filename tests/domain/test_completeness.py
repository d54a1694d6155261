"""Which replies were cut, and which end as they should."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.domain.completeness import FinishReason, is_cut, looks_cut

SENTENCES = "We looked at the pump together. It was cold, and it hummed a little. " * 4


@pytest.mark.parametrize(
    "text",
    [
        "Yes", "42", "Dennis", "3.14", "Room 101", "10:45", "2026-01-18",
        "It ends well.", 'She said "yes"', "Does it?",
        "Good night \U0001f319", "Well \U0001f44d\U0001f3fd",
        "- milk\n- bread", "1. first\n2. second", "A list:\n- **bold**", "| a | b |\n| - | - |",
        "def f(x):\n    return x", "```python\nprint(1)\n```",
        "SELECT * FROM t WHERE a = 1", "x = y + 1",
        "https://example.org/a/b", "me@example.org", "/etc/hosts", "C:\\temp\\a.txt",
        "192.168.0.1:80",
        "彼は「そうです」", "我们一起学习。", "我们一起学", "كيف حالك؟",
        "यह ठीक है।",
        "ठीक है", "Ça va très bien",
        "hey thats fine lets go with the red one", "lol same here", "ok cool thanks :)",
        "love you <3",
        "Best,\nDennis", "Yours --", "(laughs)", "*waves*", "",
        "Yes \u2764\ufe0f", "Take 1\ufe0f\u20e3", "Home \U0001f3f4\U000e0067\U000e007f",
    ],
)  # fmt: skip
def test_short_and_unpunctuated_replies_are_complete(text: str) -> None:
    assert not looks_cut(text)


@pytest.mark.parametrize(
    "text",
    [
        "with patience, and", "with patience,", "We looked at the", "und dann kam die", "il y a un",
        "The steps (first, second", "```python\nprint(1)", "a, b and c -", "它是，",
        "1. one\n2. two\n\n3",
        SENTENCES + "And then we wanted to see whether it would",
        SENTENCES + "Understanding each other means being",
        SENTENCES + "\n- **Trust**: It grows slowly.\n- **Care**: We notice what the other might",
    ],
)  # fmt: skip
def test_strong_signs_of_a_cut(text: str) -> None:
    assert looks_cut(text) is not text.startswith("The steps")


@pytest.mark.parametrize(
    "text",
    [
        "we looked at the pump and it was cold and then we went home " * 6,
        SENTENCES + "\n- milk\n- bread\n- a very long line of things to buy at the market\n- eggs",
        SENTENCES + "\n\nSee https://example.org/pump",
        SENTENCES + "\n\nWith love,\nSAGE",
    ],
)
def test_writer_who_ends_no_sentence_or_a_list_is_complete(text: str) -> None:
    assert not looks_cut(text.strip())


def test_what_the_runtime_says_goes_before_every_sign() -> None:
    assert is_cut("It ends well.", FinishReason.LENGTH)
    assert is_cut("It ends well.", FinishReason.CONTENT_FILTER)
    assert not is_cut("with patience, and", FinishReason.STOP)
    assert not is_cut("with patience, and", FinishReason.TOOL_CALLS)
    assert is_cut("with patience, and", None)


def test_reasoning_and_tool_calls_are_no_cut() -> None:
    assert not is_cut("Let me look.\n<tool_call>{}", None)
    assert is_cut("<think>Hm.</think>We looked at the", None)


def test_replies_of_a_model_that_met_a_cap_are_found_and_those_of_another_are_not(
    shared_data: Path,
) -> None:
    """333 replies of Qwen2.5-0.5B at a cap of tokens, half of them cut; 323 of Gemma 3, none."""

    def cut(name: str) -> list[str]:
        stored = json.loads((shared_data / f"exchanges-{name}.json").read_text(encoding="utf-8"))
        records = stored if isinstance(stored, list) else stored["experiences"]
        return [r["response"] for r in records if looks_cut(r["response"])]

    found = cut("qwen2.5-0.5b")
    assert len(found) == 160
    assert min(len(text.split()) for text in found) >= 92
    assert cut("gemma3-12b") == []
