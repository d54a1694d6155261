"""Exchanges by chance through every family's template: trained on, or named; never a turn of text.

`make fuzz` (FUZZ_EXAMPLES) tries more.
"""

from __future__ import annotations

import os
import random
from dataclasses import replace

import pytest

from app.domain.experience import TrainingExchange, Turn
from app.domain.reply_parts import Thinking, said_in
from app.errors import ExchangeUnfit
from app.training.chat import IGNORED_LABEL, ChatEncoder
from tests.fuzz.conversations import exchange_by_chance
from tests.training.families import FAMILIES, tokenizer_of

pytestmark = pytest.mark.timeout(3600)

EXCHANGES = int(os.environ.get("FUZZ_EXAMPLES", "50"))
MAX_LENGTH = 256


@pytest.mark.parametrize("thinking", Thinking)
@pytest.mark.parametrize("name", FAMILIES)
def test_every_exchange_is_encoded_within_its_length_or_named(
    name: str, thinking: Thinking
) -> None:
    encoder = ChatEncoder(
        tokenizer_of(name), system_prompt="You are SAGE.", max_length=MAX_LENGTH, thinking=thinking
    )
    chance = random.Random(7)  # noqa: S311  # the same exchanges each time
    encoded_count = 0
    for number in range(EXCHANGES):
        exchange = exchange_by_chance(chance, number)
        try:
            encoded = encoder.encode(exchange)
        except ExchangeUnfit as error:
            assert error.facts["experience_id"] == exchange.experience_id  # noqa: PT017  # if it is raised
            continue
        encoded_count += 1
        assert len(encoded.input_ids) == len(encoded.labels) <= MAX_LENGTH
        targets = [label for label in encoded.labels[1:] if label != IGNORED_LABEL]
        assert targets
        pairs = zip(encoded.labels, encoded.input_ids, strict=True)
        assert all(label in {IGNORED_LABEL, token} for label, token in pairs)
    assert encoded_count > 0.8 * EXCHANGES


@pytest.mark.parametrize("name", FAMILIES)
def test_no_text_brings_a_control_token_of_its_own(name: str) -> None:
    family = FAMILIES[name]
    tokenizer = tokenizer_of(name)
    added = tokenizer.get_added_vocab()
    own = {added[token] for token in (*family.special, *family.plain)}
    encoder = ChatEncoder(tokenizer, system_prompt="You are SAGE.", max_length=1_000_000)
    chance = random.Random(11)  # noqa: S311  # the same exchanges each time
    for number in range(EXCHANGES):
        exchange = exchange_by_chance(chance, number)
        try:
            found = encoder.encode(exchange)
        except ExchangeUnfit:
            continue
        plain = encoder.encode(_with_plain_words(exchange))
        assert [token for token in found.input_ids if token in own] == [
            token for token in plain.input_ids if token in own
        ], exchange


def _with_plain_words(exchange: TrainingExchange) -> TrainingExchange:
    """The same conversation, harmlessly: what is empty stays so, what says nothing says nothing."""
    return replace(
        exchange,
        prompt="word",
        response="word",
        system_prompt="word" if exchange.system_prompt else exchange.system_prompt,
        history=tuple(
            turn if _says_nothing(turn) else Turn(role=turn.role, content="word")
            for turn in exchange.history
        ),
    )


def _says_nothing(turn: Turn) -> bool:
    """An empty system turn is none, and a reply that was reasoning alone is left out."""
    if turn.role == "system":
        return not turn.content
    return (
        turn.role == "assistant"
        and bool(turn.content.strip())
        and not said_in(turn.content).strip()
    )
