"""What a tokenizer's own chat template makes of turns, and which tokens end one.

Must not know exchanges, labels or models.
"""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from app.errors import ChatTemplateMissing

Message = dict[str, str]
"""A turn as templates read it: `role` and `content`."""


def render(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, is_prompt: bool
) -> str:
    """The text of a conversation.

    Args:
        messages: A system turn, if any, first.
        is_prompt: Whether the assistant's next turn is opened behind the last message.

    Raises: ChatTemplateMissing.
    """
    turns = list(messages)
    try:
        return _apply(tokenizer, turns, is_prompt=is_prompt)
    except TemplateError as error:
        # Gemma's template, for one, refuses the system role: the first user turn carries it.
        folded = _fold_system(turns)
        if folded == turns:
            raise ChatTemplateMissing(f"the chat template fails: {error}") from error
    try:
        return _apply(tokenizer, folded, is_prompt=is_prompt)
    except TemplateError as error:
        raise ChatTemplateMissing(f"the chat template fails: {error}") from error


def end_of_turn_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Tokens that end the assistant's turn where they stand right behind its reply."""
    return frozenset(tokenizer.all_special_ids)


def stop_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Tokens at which a generated reply has ended."""
    end = tokenizer.eos_token_id
    return frozenset() if end is None else frozenset({int(end)})


def _apply(tokenizer: PreTrainedTokenizerBase, messages: list[Message], *, is_prompt: bool) -> str:
    # As text, not ids: the reply is looked for by its characters.
    rendered = tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=is_prompt
    )
    if not isinstance(rendered, str):
        raise ChatTemplateMissing("the chat template does not render to text")
    return rendered


def _fold_system(messages: list[Message]) -> list[Message]:
    if messages[0]["role"] != "system" or len(messages) < 2:
        return messages
    system, first, *rest = messages
    return [{"role": first["role"], "content": f"{system['content']}\n\n{first['content']}"}, *rest]
