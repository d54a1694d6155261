"""What a tokenizer's chat template makes of a conversation: its own text, and where contents go.

A template is a program of strangers: it refuses roles, drops turns, trims, cuts reasoning out, and
would take control tokens inside a content for its own. So it never sees a content. It is rendered
with a stand-in for each, and the contents are put in afterwards: whatever it refuses or leaves out
shows, what is text stays text, and a conversation costs one rendering, however long it is.

Must not know tokens, labels or lengths.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from app.domain.experience import TrainingExchange
from app.domain.reply_parts import REASONING_TAGS, said_in

_STAND_IN = re.compile(r"Zq(\d{5})qZ")
_GAP = "\n\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One turn; its contents stand under one role, an empty line between them."""

    role: str
    contents: tuple[str, ...]
    reasoning: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """A conversation as a template writes it.

    Attributes:
        parts: The template's own text and the contents in turn; the first and last are its own.
        roles: Of each content whose it is.
    """

    parts: tuple[str, ...]
    roles: tuple[str, ...]

    @property
    def text(self) -> str:
        """The whole of it."""
        return "".join(self.parts)

    def spans(self) -> list[tuple[int, int]]:
        """Characters `[start, end)` of each content in the text, in order."""
        found = []
        position = 0
        for index, part in enumerate(self.parts):
            if index % 2:
                found.append((position, position + len(part)))
            position += len(part)
        return found


class TemplateRefuses(Exception):
    """The template fails on a conversation, or leaves out a part of it. Never leaves training."""


def lay_out(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, is_prompt: bool
) -> Layout:
    """Render a conversation.

    Args:
        is_prompt: Whether the template then opens the assistant's turn.

    Raises:
        TemplateRefuses: With the template's own words, or that of what it left out.
    """
    contents: list[str] = []
    roles: list[str] = []
    wanted: list[int] = []

    def stand_in(content: str, role: str) -> str:
        """With the content's own white space around it, since many templates trim."""
        wanted.append(len(contents))
        body = content.strip()
        start = content.find(body) if body else 0
        rendered = f"{content[:start]}Zq{len(contents):05}qZ{content[start + len(body) :]}"
        contents.append(body)
        roles.append(role)
        return rendered

    rendered = []
    for message in messages:
        turn = {"role": message.role}
        if message.reasoning is not None:
            turn["reasoning_content"] = stand_in(message.reasoning.strip(), message.role)
        turn["content"] = _GAP.join(stand_in(one, message.role) for one in message.contents)
        rendered.append(turn)
    try:
        text = tokenizer.apply_chat_template(
            rendered, tokenize=False, add_generation_prompt=is_prompt
        )
    except TemplateError as error:
        raise TemplateRefuses(f"the chat template says: {error}") from error
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise TemplateRefuses(f"the chat template fails with {type(error).__name__}") from error
    parts = _STAND_IN.split(str(text))
    if [int(number) for number in parts[1::2]] != wanted:
        missing = sorted({roles[number] for number in {*wanted} - set(map(int, parts[1::2]))})
        what = (
            f"leaves out what the {' and the '.join(missing)} said" if missing else "repeats text"
        )
        raise TemplateRefuses(f"the chat template {what}")
    parts[1::2] = contents
    return Layout(parts=tuple(_break_markers(parts, tokenizer)), roles=tuple(roles))


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """A shape in which a conversation may be put to a template.

    Attributes:
        history: Earlier turns, role and content, oldest first.
        is_folded: The system prompt stands at the head of the first user's turn.
        is_joined: Turns of one role in a row are one.
    """

    system: str
    history: tuple[tuple[str, str], ...]
    prompt: str
    is_folded: bool = False
    is_joined: bool = False

    def messages(self) -> list[Message]:
        """The turns up to and with the prompt."""
        turns: list[Message] = []
        for role, content in (*self.history, ("user", self.prompt)):
            if self.is_joined and turns and turns[-1].role == role:
                turns[-1] = replace(turns[-1], contents=(*turns[-1].contents, content))
            else:
                turns.append(Message(role=role, contents=(content,)))
        if not self.system:
            return turns
        if not self.is_folded:
            return [Message(role="system", contents=(self.system,)), *turns]
        place = next(place for place, turn in enumerate(turns) if turn.role == "user")
        turns[place] = replace(turns[place], contents=(self.system, *turns[place].contents))
        return turns

    def without_oldest(self, count: int) -> Form:
        """The form without so many of its oldest turns, and without what answered them."""
        rest = self.history[count:]
        while rest and rest[0][0] != "user":
            rest = rest[1:]
        return replace(self, history=rest)


def forms(system: str, history: Sequence[tuple[str, str]], prompt: str) -> list[Form]:
    """The shapes in which a conversation may be put to a template, the truest first.

    As it is; without system and tool turns in its middle, without a reply before the first prompt
    and with turns of one role in a row as one; without its history; and each of them with the
    system prompt folded into the first user's turn.
    """
    spoken = [turn for turn in history if turn[0] in {"user", "assistant"}]
    while spoken and spoken[0][0] == "assistant":
        spoken = spoken[1:]
    whole = Form(system=system, history=tuple(history), prompt=prompt)
    tidy = replace(whole, history=tuple(spoken), is_joined=True)
    bare = replace(whole, history=())
    found = [
        replace(form, is_folded=is_folded)
        for form in (whole, tidy, bare)
        for is_folded in ((False, True) if system else (False,))
    ]
    return list(dict.fromkeys(found))


def history_of(exchange: TrainingExchange, system_prompt: str) -> tuple[str, list[tuple[str, str]]]:
    """An exchange's system prompt and its earlier turns, replies without their reasoning.

    Its own prompt goes before the one that its history begins with, and that before the instance's.
    An earlier reply that was reasoning alone says nothing and is left out.
    """
    turns = [
        (turn.role, said_in(turn.content) if turn.role == "assistant" else turn.content)
        for turn in exchange.history
        if turn.role != "assistant" or not turn.content.strip() or said_in(turn.content).strip()
    ]
    system = exchange.system_prompt
    if turns and turns[0][0] == "system":
        head = turns.pop(0)[1]
        system = head if system is None else system
    return (system_prompt if system is None else system), turns


def opens_reasoning(text: str) -> tuple[str, str] | None:
    """The tags of the block of reasoning that a prompt ends with having opened, or None."""
    end = text.rstrip()
    return next((tags for tags in REASONING_TAGS if end.endswith(tags[0])), None)


_MARKER = re.compile(
    r"\[/?[A-Z_]{2,}\]|<</?[A-Z]{2,}>>"
    r"|(?:^|(?<=\n))#{1,4} ?(?:user|assistant|system|human|instruction|response|input|ai|bot)\b:?"
    r"|\b(?:user|assistant|system|human|instruction|response|ai|bot):",
    re.IGNORECASE,
)
"""Marks of turns that are plain text in older templates: `[INST]`, `### Response:`, `USER:`."""


def _break_markers(parts: list[str], tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Break those marks in the contents that this template writes as plain text.

    To the model they would be the same tokens as the template's own, so an invisible space goes
    behind their first character. What is a token of its own is told apart when it is tokenised.
    """
    markers = {match[0].lower() for text in parts[::2] for match in _MARKER.finditer(text)}
    if markers:
        markers -= {token.lower() for token in tokenizer.get_added_vocab()}
    if not markers:
        return parts
    found = re.compile(
        "|".join(map(re.escape, sorted(markers, key=len, reverse=True))), re.IGNORECASE
    )
    return [
        found.sub(lambda match: f"{match[0][0]}\u200b{match[0][1:]}", part) if index % 2 else part
        for index, part in enumerate(parts)
    ]
