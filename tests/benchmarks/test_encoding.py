"""How long one exchange takes to encode, by the length of its history: in proportion, no more."""

from __future__ import annotations

import time
from dataclasses import replace
from statistics import median

import pytest

from app.domain.experience import TrainingExchange, Turn
from app.training.chat import ChatEncoder
from tests.fuzz.conversations import NONE
from tests.training.families import FAMILIES, tokenizer_of

SENTENCE = "We looked at the pump together and it was cold, so we wondered. "


def exchange(turns: int) -> TrainingExchange:
    """An exchange after so many turns of 500 characters."""
    return TrainingExchange(
        experience_id="long",
        prompt="Hello.",
        response="I am SAGE.",
        salience=NONE,
        history=tuple(
            Turn(role=("user", "assistant")[number % 2], content=(SENTENCE * 8)[:500])
            for number in range(turns)
        ),
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_four_times_the_history_takes_about_four_times_as_long(name: str) -> None:
    encoder = ChatEncoder(tokenizer_of(name), system_prompt="You are SAGE.", max_length=1024)

    def seconds(turns: int) -> float:
        wanted = exchange(turns)
        found = []
        for number in range(5):
            started = time.perf_counter()
            encoder.encode(replace(wanted, prompt=f"Hello {number}."))
            found.append(time.perf_counter() - started)
        return median(found)

    short, long = seconds(50), seconds(200)
    print(f"\n{name}: 50 turns {short * 1e3:.0f} ms, 200 turns {long * 1e3:.0f} ms")
    assert long < 8 * short
