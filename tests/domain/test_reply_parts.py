"""What of a reply was said, and what was reasoning or a tool call."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.reply_parts import (
    REASONING_TAGS,
    TOOL_TAGS,
    is_all_control_tokens,
    part_reply,
    said_in,
)

TAGS = [tag for pair in (*REASONING_TAGS, *TOOL_TAGS) for tag in pair if tag]


@given(st.text())
def test_text_without_tags_is_said_to_the_last_character(text: str) -> None:
    if not any(tag.lower() in text.lower() for tag in TAGS):
        assert said_in(text) is text or said_in(text) == text


@pytest.mark.parametrize(("opening", "closing"), REASONING_TAGS)
def test_reasoning_of_every_family_is_told_from_the_answer(opening: str, closing: str) -> None:
    parts = part_reply(f"{opening}\nWe wonder.\n{closing}\n\nI am SAGE.")
    assert (parts.said, parts.reasoning, parts.is_unfinished) == ("I am SAGE.", "We wonder.", False)
    assert (parts.opening, parts.closing) == (opening, closing)


@pytest.mark.parametrize(("opening", "closing"), REASONING_TAGS)
def test_reasoning_that_never_ends_is_unfinished(opening: str, closing: str) -> None:
    for text in (f"{opening} We wonder", f"Well. {opening} We", f"{opening}a{closing}b{opening}c"):
        assert part_reply(text).is_unfinished


def test_reasoning_whose_opening_the_prompt_wrote_ends_at_its_closing() -> None:
    parts = part_reply("We wonder.\n</think>\n\nI am SAGE.")
    assert (parts.said, parts.reasoning) == ("I am SAGE.", "We wonder.")
    assert not parts.is_unfinished


@pytest.mark.parametrize(
    "text",
    [
        "Write `<think>` before it.",
        'It begins with "<think>" and never ends.',
        "```\n<think>\n```\nis how it looks.",
        "«<think>» it says",
    ],
)
def test_talk_about_a_tag_is_said(text: str) -> None:
    assert part_reply(text).said == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("One. <think>hm</think> Two.", "One. Two."),
        ("One.\n\n<think>hm</think>\n\nTwo.", "One.\n\nTwo."),
        ("<think>a</think>One. <think>b</think>Two.", "One. Two."),
        ("<THINK>a</Think>One.", "One."),
        ("<think>\n\n</think>\n\nOne.", "One."),
        ("a</think>One.</think>Two.", "Two."),
    ],
)
def test_what_stood_around_reasoning_is_joined(text: str, said: str) -> None:
    assert said_in(text) == said


@pytest.mark.parametrize(("opening", "closing"), TOOL_TAGS)
def test_tool_calls_are_not_said(opening: str, closing: str | None) -> None:
    call = f'{opening}{{"name": "look"}}'
    assert said_in(f"Let me look.\n{call}{closing or ''}") == "Let me look."
    assert said_in(f"Let me look.\n{call}") == "Let me look."
    assert not part_reply(call).is_unfinished
    if closing:
        assert said_in(f"Let me look. {call}{closing} Seen.") == "Let me look. Seen."


def test_final_channel_of_harmony_is_what_was_said() -> None:
    assert (
        said_in(
            "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Hello"
        )
        == "Hello"
    )


@pytest.mark.parametrize(
    ("text", "is_all"),
    [
        ("<|im_end|>", True),
        ("<|im_start|>assistant\n<|im_end|>", True),
        ("</s> <s>", True),
        ("<end_of_turn>", True),
        ("[INST] [/INST]", True),
        ("<｜end▁of▁sentence｜>", True),
        ("Sure.<|im_end|>", False),
        ("", False),
        ("user", False),
        ("<b>", False),
    ],
)
def test_control_tokens_alone_say_nothing(text: str, is_all: bool) -> None:
    assert is_all_control_tokens(text) is is_all


@given(st.lists(st.sampled_from([*TAGS, "word ", "\n", "`", '"', "```"]), max_size=30))
def test_no_mixture_of_tags_breaks_it_and_nothing_is_invented(pieces: list[str]) -> None:
    text = "".join(pieces)
    parts = part_reply(text)
    assert parts.said.count("word") + parts.reasoning.count("word") <= text.count("word")
