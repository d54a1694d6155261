"""Turn an exchange into token ids and labels through the tokenizer's own chat template.

Loss is taken on the assistant's reply and its end of turn only. Where they stand is known from how
the template was filled (`app.training.template`), and carried over from characters to tokens by
their offsets (`app.training.reading`). What a template cannot hold, or a length, is said by name
and is no one else's trouble. Must not know files, salience or models.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

from transformers import PreTrainedTokenizerBase

from app.domain.experience import TrainingExchange, Turn
from app.domain.reply_parts import ReplyParts, Thinking, part_reply
from app.errors import (
    ChatTemplateMissing,
    ChatTemplateRefuses,
    ExchangeTooLong,
    NoSupervisedTokens,
)
from app.training.reading import TextReader, Tokens
from app.training.template import (
    Form,
    Layout,
    Message,
    TemplateRefuses,
    forms,
    history_of,
    lay_out,
    opens_reasoning,
)

IGNORED_LABEL = -100
"""Label where no loss is taken (torch's own default for cross-entropy)."""

MIN_ROOM = 8
"""Tokens for prompt and reply together, below which an exchange teaches nothing. A guess."""

PROMPT_SHARE = 4
"""Where a prompt and its reply are both too long, one part of so many is the prompt's. A guess."""

_ROUNDS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedExchange:
    """One exchange as the model sees it; both lists have T entries.

    Attributes:
        input_ids: The whole rendered template, the newline after the last turn included.
        labels: The reply's tokens and its end-of-turn token; `IGNORED_LABEL` elsewhere.
    """

    input_ids: list[int]
    labels: list[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Draft:
    """An exchange rendered and tokenised, however long.

    Attributes:
        spans: Characters of each content; the prompt's is at `prompt`.
        reply: Characters `[start, end)` of all that is learned of the reply.
    """

    form: Form
    tokens: Tokens
    spans: list[tuple[int, int]]
    prompt: int
    reply: tuple[int, int]


class ChatEncoder:
    """Renders and tokenises exchanges for one tokenizer.

    Args:
        tokenizer: With a chat template and character offsets.
        system_prompt: For exchanges without their own; an empty one leaves the system turn out.
        max_length: Tokens per example, at most.
        thinking: Whether a reply's reasoning is learned with it.

    Raises:
        ChatTemplateMissing: The template cannot hold even a prompt and its reply, or nothing ends
            a reply.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        system_prompt: str,
        max_length: int,
        thinking: Thinking = Thinking.STRIP,
    ) -> None:
        self._tokenizer = tokenizer
        self._system_prompt = system_prompt
        self._max_length = max_length
        self._thinking = thinking
        self._reader = TextReader(tokenizer)
        self._end_of_turn = self._find_end_of_turn()
        if not self.end_ids:
            raise ChatTemplateMissing(
                "the chat template writes no end behind a reply, and the tokenizer names no end of "
                "text: a model would learn replies without an end. Name its eos_token in "
                "tokenizer_config.json"
            )

    @property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end a turn: the template's own and the tokenizer's end of text."""
        eos = self._tokenizer.eos_token_id
        return frozenset(int(token) for token in (self._end_of_turn, eos) if isinstance(token, int))

    def encode(self, exchange: TrainingExchange) -> EncodedExchange:
        """Encode one exchange, in time linear in its length.

        Too long: the oldest turns of the history go first, then the prompt's beginning, at last the
        reply's tail, and a reply that lost its tail has no end-of-turn target.

        Raises:
            ChatTemplateRefuses: The template holds the exchange in no form.
            ExchangeTooLong: The system prompt leaves no room.
            NoSupervisedTokens: Nothing of the reply is left to learn from.
        """
        try:
            draft = self._shorten(exchange, self._draft(exchange, None, exchange.prompt))
        except TemplateRefuses as error:
            raise ChatTemplateRefuses(
                f"experience {exchange.experience_id}: {error}",
                experience_id=exchange.experience_id,
            ) from error
        ids, labels = self._label(draft, is_truncated=exchange.is_truncated)
        ids, labels = ids[: self._max_length], labels[: self._max_length]
        # The first token has no predecessor to be predicted from.
        if all(label == IGNORED_LABEL for label in labels[1:]):
            raise NoSupervisedTokens(
                f"experience {exchange.experience_id}: no token of the reply is within the first "
                f"{self._max_length} tokens, or the reply is empty",
                experience_id=exchange.experience_id,
            )
        return EncodedExchange(input_ids=ids, labels=labels)

    def encode_prompt(
        self, prompt: str, *, system_prompt: str | None = None, history: Sequence[Turn] = ()
    ) -> list[int]:
        """Token ids of a prompt behind its history, up to where the assistant's reply begins.

        Raises: ChatTemplateRefuses.
        """
        system = self._system_prompt if system_prompt is None else system_prompt
        turns = [(turn.role, turn.content) for turn in history]
        refusal: TemplateRefuses | None = None
        for form in forms(system, turns, prompt):
            try:
                layout = lay_out(self._tokenizer, form.messages(), is_prompt=True)
            except TemplateRefuses as error:
                refusal = refusal or error
                continue
            return self._reader.read(layout.text, layout.spans(), ()).ids
        raise ChatTemplateRefuses(f"a prompt: {refusal}") from refusal

    def _draft(self, exchange: TrainingExchange, form: Form | None, prompt: str) -> _Draft:
        """Render and tokenise, in a given form or the first that the template holds."""
        if form is not None:
            return self._fill(form, part_reply(exchange.response))
        system, history = history_of(exchange, self._system_prompt)
        refusal: TemplateRefuses | None = None
        for candidate in forms(system, history, prompt):
            try:
                return self._fill(candidate, part_reply(exchange.response))
            except TemplateRefuses as error:
                refusal = refusal or error
        raise refusal or TemplateRefuses("no form of it is left")

    def _fill(self, form: Form, reply: ReplyParts) -> _Draft:
        messages = form.messages()
        opened = lay_out(self._tokenizer, messages, is_prompt=True)
        is_kept = self._thinking is Thinking.KEEP and bool(reply.reasoning)
        layout = self._lay_reply(messages, reply, opened.text, is_kept=is_kept)
        text, spans = layout.text, layout.spans()
        first = len(opened.roles)
        start, end = spans[first][0], spans[-1][1]
        if text.startswith(opened.text) and (is_kept or not text[len(opened.text) : start].strip()):
            # White space that only the whole conversation has is the reply's first token's own.
            start = len(opened.text)
        elif text[start - 1 : start] == " ":
            start -= 1
        return _Draft(
            form=form,
            tokens=self._ended(self._reader.read(text, spans, (start, end)), end),
            spans=spans,
            prompt=first - 1,
            reply=(start, end),
        )

    def _lay_reply(
        self, messages: Sequence[Message], reply: ReplyParts, opened: str, *, is_kept: bool
    ) -> Layout:
        """The conversation with its reply, its reasoning in the form that the template gives it."""
        answer = Message(role="assistant", contents=(reply.said,))
        if not is_kept:
            return lay_out(self._tokenizer, [*messages, answer], is_prompt=False)
        try:
            thought = replace(answer, reasoning=reply.reasoning)
            return lay_out(self._tokenizer, [*messages, thought], is_prompt=False)
        except TemplateRefuses:
            layout = lay_out(self._tokenizer, [*messages, answer], is_prompt=False)
        before = "".join(layout.parts[:-2])
        opening, closing = opens_reasoning(opened) or (reply.opening, reply.closing)
        is_opened = opens_reasoning(opened) is not None and opened.startswith(before)
        head = opened[len(before) :] if is_opened else f"{opening}\n"
        parts = [*layout.parts[:-2], reply.reasoning, f"\n{closing}\n\n", *layout.parts[-2:]]
        parts[-5] += head
        return Layout(parts=tuple(parts), roles=(*layout.roles, "assistant"))

    def _shorten(self, exchange: TrainingExchange, draft: _Draft) -> _Draft:
        """Leave out history, then the prompt's beginning; each time measured, not guessed."""
        for round_ in range(_ROUNDS):
            excess = len(draft.tokens.ids) - self._max_length
            if excess <= 0 or not draft.form.history:
                break
            count = len(draft.form.history)
            if round_ + 1 < _ROUNDS:
                count = self._turns_to_drop(draft, excess)
            form = draft.form.without_oldest(count)
            draft = self._draft(exchange, form, form.prompt)
        for _ in range(_ROUNDS):
            prompt = self._shorter_prompt(exchange, draft)
            if prompt is None:
                break
            draft = self._draft(exchange, replace(draft.form, prompt=prompt), prompt)
        return draft

    def _turns_to_drop(self, draft: _Draft, excess: int) -> int:
        """How many of the oldest turns hold so many tokens, with what the template puts around."""
        history = len(draft.form.history)
        places = [
            bisect_left(draft.tokens.offsets, span)
            for span in draft.spans[draft.prompt - history : draft.prompt + 1]
        ]
        return next(
            (count for count in range(1, history) if places[count] - places[0] >= excess), history
        )

    def _shorter_prompt(self, exchange: TrainingExchange, draft: _Draft) -> str | None:
        """The end of the prompt that leaves the reply its room; None where it needs no cut."""
        offsets = draft.tokens.offsets
        excess = len(offsets) - self._max_length
        if excess <= 0:
            return None
        start, end = draft.spans[draft.prompt]
        first, last = bisect_left(offsets, (start, 0)), bisect_left(offsets, (end, 0))
        reply = len(offsets) - bisect_left(offsets, (draft.reply[0], 0))
        prompt = last - first
        room = self._max_length - (len(offsets) - prompt - reply)
        if room < MIN_ROOM:
            raise ExchangeTooLong(
                f"experience {exchange.experience_id}: the system prompt and the template leave "
                f"{max(0, room)} of {self._max_length} tokens for prompt and reply",
                experience_id=exchange.experience_id,
            )
        kept = max(min(prompt, room // PROMPT_SHARE), room - reply)
        if kept >= prompt or prompt <= 1:
            return None
        return draft.form.prompt.strip()[offsets[last - kept][0] - start :] or None

    def _label(self, draft: _Draft, *, is_truncated: bool) -> tuple[list[int], list[int]]:
        ids, offsets = draft.tokens.ids, draft.tokens.offsets
        start, end = draft.reply
        labels = [IGNORED_LABEL] * len(ids)
        tail = len(ids)
        for place in range(bisect_left(offsets, (start, 0)), len(ids)):
            token_start, token_end = offsets[place]
            if token_start >= end and token_end > end:
                tail = place
                break
            if token_end <= end:
                labels[place] = ids[place]
        if is_truncated:
            return ids, labels
        ends = (place for place in range(tail, len(ids)) if ids[place] in self._reader.control)
        if (at := next(ends, None)) is not None:
            labels[tail : at + 1] = ids[tail : at + 1]
            return ids, labels
        return ids, labels

    def _ended(self, tokens: Tokens, end: int) -> Tokens:
        """With the end of text behind the reply, in templates of plain text that write no end."""
        place = bisect_left(tokens.offsets, (end, 0))
        eos = self._tokenizer.eos_token_id
        if eos is None or any(token in self._reader.control for token in tokens.ids[place:]):
            return tokens
        return Tokens(
            ids=[*tokens.ids[:place], int(eos)], offsets=[*tokens.offsets[:place], (end, end + 1)]
        )

    def _find_end_of_turn(self) -> int | None:
        """The first control token behind a reply; None in templates that write none."""
        try:
            draft = self._fill(forms("", (), "Hello.")[0], ReplyParts(said="Hello."))
        except TemplateRefuses as error:
            raise ChatTemplateMissing(
                f"the chat template cannot hold a prompt and its reply: {error}"
            ) from error
        _, labels = self._label(draft, is_truncated=False)
        learned = [label for label in labels if label != IGNORED_LABEL]
        return learned[-1] if learned and learned[-1] in self._reader.control else None
