"""Turn an exchange into token ids and labels through the tokenizer's own chat template.

Loss is taken on the assistant's reply only. Templates rarely mark it (`{% generation %}`), so the
reply is found in the rendered text by characters and carried over to tokens by their offsets.
Must not know files, salience or models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from app.domain.experience import TrainingExchange, Turn
from app.errors import ChatTemplateMissing, NoSupervisedTokens

IGNORED_LABEL = -100
"""Label where no loss is taken (torch's own default for cross-entropy)."""

Message = dict[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedExchange:
    """One exchange as the model sees it; both lists have T entries.

    Attributes:
        input_ids: The whole rendered template, the newline after the last turn included.
        labels: The reply's tokens and its end-of-turn token; `IGNORED_LABEL` elsewhere.
    """

    input_ids: list[int]
    labels: list[int]


class ChatEncoder:
    """Renders and tokenises exchanges for one tokenizer.

    Args:
        tokenizer: With a chat template and character offsets.
        system_prompt: For exchanges without their own; an empty one leaves the system turn out.
        max_length: Tokens per example, at most.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, *, system_prompt: str, max_length: int
    ) -> None:
        self._tokenizer = tokenizer
        self._system_prompt = system_prompt
        self._max_length = max_length
        self._special_ids = frozenset(tokenizer.all_special_ids)

    def encode(self, exchange: TrainingExchange) -> EncodedExchange:
        """Encode one exchange.

        Too long: the oldest turns of the history go first, then the reply's tail, and a reply that
        lost its tail has no end-of-turn target.

        Raises:
            ChatTemplateMissing: The template does not hold the reply.
            NoSupervisedTokens: Nothing of the reply is left to learn from.
        """
        history = list(exchange.history)
        encoded = self._encode(exchange, history)
        while len(encoded.input_ids) > self._max_length and history:
            history = _without_oldest_exchange(history)
            encoded = self._encode(exchange, history)
        cut = EncodedExchange(
            input_ids=encoded.input_ids[: self._max_length],
            labels=encoded.labels[: self._max_length],
        )
        # The first token has no predecessor to be predicted from.
        if all(label == IGNORED_LABEL for label in cut.labels[1:]):
            raise NoSupervisedTokens(
                f"experience {exchange.experience_id}: no token of the reply is within the first "
                f"{self._max_length} tokens, or the reply is empty",
                experience_id=exchange.experience_id,
            )
        return cut

    def encode_prompt(self, prompt: str, *, system_prompt: str | None = None) -> list[int]:
        """Token ids of a prompt, up to where the assistant's reply begins."""
        text = self._render(self._messages(system_prompt, [], prompt), is_prompt=True)
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _encode(self, exchange: TrainingExchange, history: Sequence[Turn]) -> EncodedExchange:
        messages = self._messages(exchange.system_prompt, history, exchange.prompt)
        reply = {"role": "assistant", "content": exchange.response}
        prefix = self._render(messages, is_prompt=True)
        text = self._render([*messages, reply], is_prompt=False)
        start, end = _find_reply(text, prefix, exchange)
        encoding = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids: list[int] = encoding["input_ids"]
        labels = [IGNORED_LABEL] * len(ids)
        for position, (token_start, token_end) in enumerate(encoding["offset_mapping"]):
            # A token that straddles the reply's start could never be generated: no target.
            if start <= token_start and token_end <= end:
                labels[position] = ids[position]
            elif token_start >= end:
                is_end_of_turn = token_start == end and ids[position] in self._special_ids
                if is_end_of_turn and not exchange.is_truncated:
                    labels[position] = ids[position]
                break
        return EncodedExchange(input_ids=ids, labels=labels)

    def _messages(
        self, system_prompt: str | None, history: Sequence[Turn], prompt: str
    ) -> list[Message]:
        system = self._system_prompt if system_prompt is None else system_prompt
        return [
            *([{"role": "system", "content": system}] if system else []),
            *({"role": turn.role, "content": turn.content} for turn in history),
            {"role": "user", "content": prompt},
        ]

    def _render(self, messages: list[Message], *, is_prompt: bool) -> str:
        try:
            return self._apply(messages, is_prompt=is_prompt)
        except TemplateError as error:
            # Gemma's template, for one, refuses the system role: the first user turn carries it.
            folded = _fold_system(messages)
            if folded == messages:
                raise ChatTemplateMissing(f"the chat template fails: {error}") from error
        try:
            return self._apply(folded, is_prompt=is_prompt)
        except TemplateError as error:
            raise ChatTemplateMissing(f"the chat template fails: {error}") from error

    def _apply(self, messages: list[Message], *, is_prompt: bool) -> str:
        rendered = self._tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=is_prompt
        )
        if not isinstance(rendered, str):
            raise ChatTemplateMissing("the chat template does not render to text")
        return rendered


def _find_reply(text: str, prefix: str, exchange: TrainingExchange) -> tuple[int, int]:
    """Characters `[start, end)` of the reply in the rendered text."""
    contents = (exchange.response, exchange.response.strip())  # many templates trim
    for content in contents:
        if text.startswith(prefix + content):
            return len(prefix), len(prefix) + len(content)
    for content in contents:  # a template that adds to a reply, such as an empty thought before it
        start = text.rfind(content)
        if content and start >= 0:
            return start, start + len(content)
    raise ChatTemplateMissing("the chat template does not hold the reply as it was given")


def _without_oldest_exchange(history: list[Turn]) -> list[Turn]:
    """Drop the oldest turn, and the replies that would then stand without their prompt."""
    rest = history[1:]
    while rest and rest[0].role == "assistant":
        rest = rest[1:]
    return rest


def _fold_system(messages: list[Message]) -> list[Message]:
    if messages[0]["role"] != "system" or len(messages) < 2:
        return messages
    system, first, *rest = messages
    return [{"role": first["role"], "content": f"{system['content']}\n\n{first['content']}"}, *rest]
