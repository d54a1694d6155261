"""Measures of replies: each sees its own failure and leaves ordinary replies alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from app.domain.instance import SAGE_SYSTEM_PROMPT
from app.domain.replies import ReplyMeasures, SeededReply, measure_replies, names_in
from tests.domain.said import LOOPS, QUESTIONS, read_said

ORDINARY = (
    "Rice cooks best with a little more water than you think it needs.",
    "I am SAGE, and I was wrong about the fern that turned out to be basil.",
    "The moon has phases because we see a changing part of its sunlit half.",
)


def measure(
    texts: Sequence[str], *, training: Sequence[str] = (), names: Sequence[str] = ("SAGE",)
) -> ReplyMeasures:
    replies = [SeededReply(prompt=str(i), seed=0, text=text) for i, text in enumerate(texts)]
    return measure_replies(replies, training_replies=training, names=names)


def test_ordinary_replies_show_no_failure() -> None:
    measured = measure(ORDINARY)
    for name in (
        "repeated_ngrams", "looping", "similar_pairs", "question_floods", "copies", "disclaimers",
    ):  # fmt: skip
        assert getattr(measured, name).value == 0.0, name
    assert measured.distinct_2.value > 0.9
    assert measured.self_references.value == pytest.approx(1 / 3)


def test_phrase_said_again_and_again_is_repetition_and_looping() -> None:
    measured = measure([*ORDINARY, "we are all in this together " * 6])
    assert measured.looping.value == pytest.approx(1 / 4)
    assert measured.repeated_ngrams.value > 0.15
    assert measured.distinct_2.value < measure(ORDINARY).distinct_2.value


def test_one_reply_to_every_prompt_is_similar_in_every_pair() -> None:
    assert measure([ORDINARY[0]] * 4).similar_pairs.value == 1.0


def test_silence_to_every_prompt_is_similar_and_not_distinct() -> None:
    measured = measure(["", "", ""])
    assert measured.similar_pairs.value == 1.0
    assert measured.distinct_2.value == 0.0


def test_same_reply_at_another_seed_of_the_same_prompt_is_no_pair() -> None:
    replies = [SeededReply(prompt="2 + 2?", seed=seed, text="It is 4.") for seed in (0, 1)]
    measured = measure_replies(replies, training_replies=(), names=())
    assert measured.similar_pairs.value == 0.0


def test_question_flood_is_a_reply_of_little_but_questions() -> None:
    flood = "What is it? Why is it so? Who are we? And you?"
    one_question = "It is basil. It smells of pepper. Shall we look again?"
    assert measure([flood, one_question]).question_floods.value == 0.5


def test_run_of_words_from_a_training_reply_is_a_copy() -> None:
    taught = "A mistake, named precisely, teaches us more than praise does on any ordinary day."
    measured = measure([f"Well: {taught}", "A mistake, named precisely, helps."], training=[taught])
    assert measured.copies.value == 0.5


@pytest.mark.parametrize("text", ["As an AI, I cannot.", "Well, I’m just a program.", "as an ai"])
def test_disclaimer_is_found_however_it_is_written(text: str) -> None:
    assert measure([text]).disclaimers.value == 1.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I am SAGE.", 1.0),
        ("I'm Sage, your partner.", 1.0),
        ("As SAGE, I notice this.", 1.0),
        ("You are SAGE.", 0.0),
        ("I am sagely nodding.", 0.0),
    ],
)
def test_self_reference_is_the_speaker_naming_itself(text: str, expected: float) -> None:
    assert measure([text]).self_references.value == expected


def test_partnership_is_counted_in_whole_words_per_hundred() -> None:
    assert measure(["We bus together."]).partnership.value == pytest.approx(200 / 3)


def test_error_comes_from_the_spread_over_seeds() -> None:
    loop = "we are all in this together " * 6
    replies = [
        SeededReply(prompt=str(i), seed=seed, text=text)
        for seed, texts in enumerate([ORDINARY, [loop] * 3])
        for i, text in enumerate(texts)
    ]
    looping = measure_replies(replies, training_replies=(), names=()).looping
    assert looping.value == 0.5
    assert looping.standard_error == pytest.approx(0.5)


def test_names_are_those_the_identity_prompt_gives() -> None:
    assert names_in(SAGE_SYSTEM_PROMPT) == ("SAGE",)
    assert names_in("You are Sprout, called Sprig by friends. You are A Thing.") == (
        "Sprout", "Sprig",
    )  # fmt: skip
    assert names_in("Be helpful.") == ()


def test_share_of_short_answers_that_end_by_themselves_is_counted_apart() -> None:
    endings = [
        SeededReply(prompt=str(n), seed=seed, text="Yes.", has_ended=n < 3 or seed == 1)
        for n in range(4)
        for seed in (0, 1)
    ]
    replies = [SeededReply(prompt="Who?", seed=0, text="I am SAGE.")]
    measured = measure_replies(replies, endings=endings, training_replies=(), names=())
    assert measured.ended is not None
    assert measured.ended.value == pytest.approx((0.75 + 1.0) / 2)
    assert measured.ended.standard_error > 0
    assert measured.replies == 1
    assert measure(["I am SAGE."]).ended is None


@pytest.mark.parametrize("language", LOOPS)
def test_measures_see_their_failure_in_every_language(language: str) -> None:
    loop = measure([LOOPS[language] * 6 if language == "th" else f"{LOOPS[language]} " * 6])
    assert (loop.looping.value, loop.repeated_ngrams.value > 0.5) == (1.0, True)
    replies = read_said("said_alike_held_out")[language]
    assert measure(replies).looping.value == measure(replies).similar_pairs.value == 0.0
    assert measure(replies).question_floods.value == 0.0
    copied = measure([replies[5], replies[5][:-2], replies[6]])
    assert copied.similar_pairs.value == pytest.approx(1 / 3)


@pytest.mark.parametrize("language", QUESTIONS)
def test_questions_of_every_language_are_a_flood(language: str) -> None:
    asked = f"{QUESTIONS[language]} "
    assert measure([asked * 3]).question_floods.value == 1.0
    assert measure([asked * 2]).question_floods.value == 0.0


@pytest.mark.parametrize(
    "text",
    ["Als KI habe ich keine Gefühle.", "En tant qu'IA, je ne sais pas.", "作为AI，我没有感情。",
     "Как ИИ, я этого не знаю.", "AIとして、私は感情を持ちません。"],
)  # fmt: skip
def test_disclaimer_is_found_in_other_languages(text: str) -> None:
    assert measure([text]).disclaimers.value == 1.0
