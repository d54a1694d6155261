"""Which tokens of an exchange are trained on."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from transformers import PreTrainedTokenizerBase

from app.domain.experience import TrainingExchange, Turn
from app.errors import ChatTemplateMissing
from app.training.chat import IGNORED_LABEL, ChatEncoder, EncodedExchange


def encoder(tokenizer: PreTrainedTokenizerBase, *, max_length: int = 1024) -> ChatEncoder:
    return ChatEncoder(tokenizer, system_prompt="You are a test.", max_length=max_length)


def with_template(tokenizer: PreTrainedTokenizerBase, template: str) -> PreTrainedTokenizerBase:
    changed = copy.deepcopy(tokenizer)
    changed.chat_template = template
    return changed


def supervised_text(tokenizer: PreTrainedTokenizerBase, encoded: EncodedExchange) -> str:
    return str(tokenizer.decode([label for label in encoded.labels if label != IGNORED_LABEL]))


def test_loss_is_taken_on_the_reply_and_its_end_of_turn(
    tokenizer: PreTrainedTokenizerBase, exchanges: tuple[TrainingExchange, ...]
) -> None:
    encoded = encoder(tokenizer).encode(exchanges[0])
    assert supervised_text(tokenizer, encoded) == exchanges[0].response + "<|im_end|>"
    assert tokenizer.decode(encoded.input_ids) == (
        f"<|im_start|>system\nYou are a test.<|im_end|>\n<|im_start|>user\n{exchanges[0].prompt}"
        f"<|im_end|>\n<|im_start|>assistant\n{exchanges[0].response}<|im_end|>\n"
    )
    assert all(
        label in {IGNORED_LABEL, token}
        for label, token in zip(encoded.labels, encoded.input_ids, strict=True)
    )


def test_truncated_reply_has_no_end_of_turn_target(
    tokenizer: PreTrainedTokenizerBase, exchanges: tuple[TrainingExchange, ...]
) -> None:
    assert exchanges[10].is_truncated
    encoded = encoder(tokenizer).encode(exchanges[10])
    assert supervised_text(tokenizer, encoded) == exchanges[10].response


def test_reply_with_signs_of_several_bytes_is_found_whole(
    tokenizer: PreTrainedTokenizerBase, exchanges: tuple[TrainingExchange, ...]
) -> None:
    exchange = replace(exchanges[0], response="Grüße — 你好 🌱, 12345 mal.")
    encoded = encoder(tokenizer).encode(exchange)
    assert supervised_text(tokenizer, encoded) == exchange.response + "<|im_end|>"


def test_reply_that_repeats_the_prompt_is_told_from_it(
    tokenizer: PreTrainedTokenizerBase, exchanges: tuple[TrainingExchange, ...]
) -> None:
    exchange = replace(exchanges[0], prompt="Yes.", response="Yes.")
    encoded = encoder(tokenizer).encode(exchange)
    labelled = [i for i, label in enumerate(encoded.labels) if label != IGNORED_LABEL]
    assert labelled[0] > len(encoded.input_ids) - 6
    assert supervised_text(tokenizer, encoded) == "Yes.<|im_end|>"


def test_exchange_brings_its_own_system_prompt_and_history(
    tokenizer: PreTrainedTokenizerBase, exchanges: tuple[TrainingExchange, ...]
) -> None:
    history = (Turn(role="user", content="Hello."), Turn(role="assistant", content="Hi there."))
    exchange = replace(exchanges[0], system_prompt="Mine.", history=history)
    text = tokenizer.decode(encoder(tokenizer).encode(exchange).input_ids)
    assert "system\nMine.<|im_end|>" in text
    assert text.index("Hello.") < text.index("Hi there.") < text.index(exchange.prompt)


def test_oldest_turns_go_first_when_it_is_too_long(
    tokenizer: PreTrainedTokenizerBase, exchanges: tuple[TrainingExchange, ...]
) -> None:
    history = tuple(
        Turn(role=role, content=f"{role} turn {i} " + "and so on " * 10)
        for i in range(4)
        for role in ("user", "assistant")
    )
    exchange = replace(exchanges[0], history=history)
    bare = len(encoder(tokenizer).encode(exchanges[0]).input_ids)
    encoded = encoder(tokenizer, max_length=bare + 100).encode(exchange)
    text = tokenizer.decode(encoded.input_ids)
    assert len(encoded.input_ids) <= bare + 100
    assert "turn 0" not in text
    assert "user turn 3" in text
    assert supervised_text(tokenizer, encoded) == exchange.response + "<|im_end|>"


def test_reply_cut_at_max_length_has_no_end_of_turn_target(
    tokenizer: PreTrainedTokenizerBase, exchanges: tuple[TrainingExchange, ...]
) -> None:
    whole = encoder(tokenizer).encode(exchanges[0])
    limit = len(whole.input_ids) - 10
    encoded = encoder(tokenizer, max_length=limit).encode(exchanges[0])
    assert encoded.input_ids == whole.input_ids[:limit]
    assert exchanges[0].response.startswith(supervised_text(tokenizer, encoded))


def test_over_long_prompt_keeps_its_end_and_leaves_the_reply_its_room(
    tokenizer: PreTrainedTokenizerBase, exchanges: tuple[TrainingExchange, ...]
) -> None:
    exchange = replace(exchanges[0], prompt="again and " * 200 + "at last", response="So it is.")
    encoded = encoder(tokenizer, max_length=64).encode(exchange)
    assert len(encoded.input_ids) <= 64
    assert "at last<|im_end|>" in tokenizer.decode(encoded.input_ids)
    assert supervised_text(tokenizer, encoded) == "So it is.<|im_end|>"


def test_template_that_trims_and_adds_a_thought_still_holds_the_reply(
    tokenizer: PreTrainedTokenizerBase, exchanges: tuple[TrainingExchange, ...]
) -> None:
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% if m.role == 'assistant' %}<think>\n\n</think>\n{% endif %}"
        "{{ m.content | trim }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    changed = with_template(tokenizer, template)
    exchange = replace(exchanges[0], response=f"\n{exchanges[0].response}\n")
    encoded = encoder(changed).encode(exchange)
    assert supervised_text(changed, encoded) == exchanges[0].response + "<|im_end|>"


def test_template_without_a_system_role_carries_it_in_the_first_user_turn(
    tokenizer: PreTrainedTokenizerBase, exchanges: tuple[TrainingExchange, ...]
) -> None:
    template = (
        "{% for m in messages %}{% if m.role == 'system' %}"
        "{{ raise_exception('no system role') }}{% endif %}"
        "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    changed = with_template(tokenizer, template)
    text = changed.decode(encoder(changed).encode(exchanges[0]).input_ids)
    assert f"user\nYou are a test.\n\n{exchanges[0].prompt}" in text


def test_template_that_loses_the_reply_is_an_error(
    tokenizer: PreTrainedTokenizerBase, exchanges: tuple[TrainingExchange, ...]
) -> None:
    changed = with_template(tokenizer, "{% for m in messages %}{{ m.role }}\n{% endfor %}")
    with pytest.raises(ChatTemplateMissing):
        encoder(changed).encode(exchanges[0])
