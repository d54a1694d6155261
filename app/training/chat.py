"""Turn an exchange into token ids and labels through the tokenizer's own chat template.

Loss is taken on the assistant's reply only. Templates rarely mark it (`{% generation %}`), so the
reply is found in the rendered text by characters and carried over to tokens by their offsets.
Must not know files, salience or models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from app.domain.experience import TrainingExchange, Turn
from app.errors import ChatTemplateMissing, NoSupervisedTokens
from app.training.template import Message, end_of_turn_ids, render

IGNORED_LABEL = -100
"""Label where no loss is taken (torch's own default for cross-entropy)."""


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
        self._end_of_turn_ids = end_of_turn_ids(tokenizer)

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
        # By the tokens themselves: what a turn costs beside its words is the template's secret.
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
        messages = self._messages(system_prompt, [], prompt)
        text = render(self._tokenizer, messages, is_prompt=True)
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _encode(self, exchange: TrainingExchange, history: Sequence[Turn]) -> EncodedExchange:
        messages = self._messages(exchange.system_prompt, history, exchange.prompt)
        reply = {"role": "assistant", "content": exchange.response}
        prefix = render(self._tokenizer, messages, is_prompt=True)
        text = render(self._tokenizer, [*messages, reply], is_prompt=False)
        start, end = _find_reply(text, prefix, exchange.response)
        # The template has written the special tokens already, a first one included.
        encoding = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids: list[int] = encoding["input_ids"]
        return EncodedExchange(
            input_ids=ids,
            labels=_label_reply(
                ids,
                encoding["offset_mapping"],
                start,
                end,
                # A reply that was cut short must not teach to stop there.
                end_ids=frozenset() if exchange.is_truncated else self._end_of_turn_ids,
            ),
        )

    def _messages(
        self, system_prompt: str | None, history: Sequence[Turn], prompt: str
    ) -> list[Message]:
        system = self._system_prompt if system_prompt is None else system_prompt
        return [
            *([{"role": "system", "content": system}] if system else []),
            *({"role": turn.role, "content": turn.content} for turn in history),
            {"role": "user", "content": prompt},
        ]


def _find_reply(text: str, prefix: str, reply: str) -> tuple[int, int]:
    """Characters `[start, end)` of the reply in the rendered text."""
    contents = (reply, reply.strip())  # many templates trim
    for content in contents:
        if text.startswith(prefix + content):
            return len(prefix), len(prefix) + len(content)
    for content in contents:  # a template that adds to a reply, such as an empty thought before it
        # From the right: the same words may stand in the prompt or in an earlier turn.
        start = text.rfind(content)
        if content and start >= 0:
            return start, start + len(content)
    raise ChatTemplateMissing("the chat template does not hold the reply as it was given")


def _label_reply(
    ids: Sequence[int],
    offsets: Sequence[tuple[int, int]],
    start: int,
    end: int,
    *,
    end_ids: frozenset[int],
) -> list[int]:
    """Labels of tokens whose characters the offsets give; the reply's are `[start, end)`.

    Args:
        end_ids: Of these the one that stands right behind the reply is a label, too.
    """
    labels = [IGNORED_LABEL] * len(ids)
    for position, (token_start, token_end) in enumerate(offsets):
        # A token that straddles the reply's start could never be generated: no target.
        if start <= token_start and token_end <= end:
            labels[position] = ids[position]
        elif token_start >= end:
            if token_start == end and ids[position] in end_ids:
                labels[position] = ids[position]
            break
    return labels


def _without_oldest_exchange(history: list[Turn]) -> list[Turn]:
    """Drop the oldest turn, and the replies that would then stand without their prompt."""
    rest = history[1:]
    while rest and rest[0].role == "assistant":
        rest = rest[1:]
    return rest
