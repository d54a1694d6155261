"""A conversation as exchanges: one for each reply, with the turns before it as its history.

Turns of the user that follow each other are one prompt; all that the model says until the user
speaks again is one reply, with the tools that it called on the way. Must not know any one format.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from pydantic_core import PydanticCustomError

from app.domain.exchange import (
    MAX_HISTORY_TURNS,
    MAX_JSON_BYTES,
    MAX_TEXT_CHARACTERS,
    MAX_TOOL_CALLS,
    bounded_json,
)

MAX_HISTORY_CHARACTERS = 32_768
"""Of an exchange's history: the turns nearest to it, some 8,000 tokens. A long conversation would
else be stored once for each of its replies. A guess."""

MAX_CUT_CHARACTERS = MAX_JSON_BYTES // 6 - 8
"""Of what a tool was given, or gave back, where all of it does not fit: as JSON a character takes
six bytes at most."""


class Role(StrEnum):
    """Who speaks."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class Unreadable(ValueError):
    """A record, or a part of it, that is no exchange; the text says why, without its words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """A tool that was called.

    Attributes:
        id: By which its result names it.
        has_result: Whether its result was seen.
    """

    name: str
    arguments: Any = None
    id: str | None = None
    result: Any = None
    success: bool = True
    has_result: bool = False

    def as_sent(self) -> dict[str, Any]:
        """As an exchange holds it."""
        arguments = as_arguments(self.arguments)
        held = _held(arguments)
        return {
            "name": self.name.strip()[:256] or "unnamed",
            "arguments": arguments if held is arguments else {"value": held},
            "success": self.success,
            "result": _held(self.result),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """What one of them said.

    Attributes:
        calls: Tools that this turn calls; of a tool's turn, the one that it answers.
        at: When, as the file writes it.
        is_learned: Whether it may be a reply to learn; else it is history alone.
        left_out: Kinds of what it held besides text.
    """

    role: Role
    text: str = ""
    calls: tuple[Call, ...] = ()
    at: Any = None
    id: str | None = None
    finish_reason: str | None = None
    is_learned: bool = True
    left_out: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """An exchange as far as a file tells it: fields of an `Exchange`, its time as written."""

    values: Mapping[str, Any]
    at: Any = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Missing:
    """A reply that is no exchange."""

    reply: int
    problem: str


def exchanges_of(
    turns: Iterable[Turn], common: Mapping[str, Any] | None = None, *, at: Any = None
) -> Iterator[Draft | Missing]:
    """The exchanges of a conversation, in their order; turns are taken as they come.

    Args:
        common: Fields that all its exchanges have.
        at: When it began, for replies that do not say when they were given.
    """
    conversation = _Conversation(common or {}, at)
    for turn in turns:
        if (done := conversation.add(turn)) is not None:
            yield done
    if (done := conversation.end()) is not None:
        yield done


class _Conversation:
    """What was said so far."""

    def __init__(self, common: Mapping[str, Any], at: Any) -> None:
        self._common = common
        self._at = at
        self._system: list[str] = []
        self._has_system = False
        self._history: deque[list[dict[str, str]]] = deque()
        self._history_turns = 0
        self._history_characters = 0
        self._prompt: list[Turn] = []
        self._reply: list[Turn] = []
        self._calls: list[Call] = []
        self._replies = 0

    def add(self, turn: Turn) -> Draft | Missing | None:
        """Take a turn; returns the exchange that ended before it."""
        if turn.role is Role.TOOL:
            self._answer_call(turn)
            return None
        if turn.role is Role.ASSISTANT:
            self._reply.append(turn)
            self._calls += turn.calls
            return None
        done = self._finish() if self._reply else None
        if turn.role is Role.USER:
            self._prompt.append(turn)
        elif self._history or self._prompt:
            self._remember([{"role": "system", "content": turn.text}])
        else:
            self._has_system = True
            self._system.append(turn.text)
        return done

    def end(self) -> Draft | Missing | None:
        """The last exchange; a question without a reply is none."""
        return self._finish() if self._reply else None

    def _answer_call(self, turn: Turn) -> None:
        for answer in turn.calls or (Call(name="tool", result=turn.text),):
            open_ = [n for n, call in enumerate(self._calls) if not call.has_result]
            named = [n for n in open_ if answer.id and self._calls[n].id == answer.id]
            if at := (named or ([] if answer.id and self._any_has_id() else open_[:1])):
                done = self._calls[at[0]]
                self._calls[at[0]] = replace(
                    done, result=answer.result, success=answer.success, has_result=True
                )
            else:
                self._calls.append(replace(answer, has_result=True))

    def _any_has_id(self) -> bool:
        return any(call.id for call in self._calls)

    def _finish(self) -> Draft | Missing | None:
        prompt, reply, calls = self._prompt, self._reply, self._calls
        self._prompt, self._reply, self._calls = [], [], []
        asked, said = _joined(prompt), _joined(reply)
        before = [turn for group in self._history for turn in group]
        group = [{"role": "user", "content": asked}] if asked.strip() else []
        group += [{"role": "assistant", "content": said}] if said.strip() else []
        self._remember(group)
        if not prompt or not reply[-1].is_learned:  # a greeting, or what is there to be read alone
            return None
        number, self._replies = self._replies, self._replies + 1
        if missing := _missing(asked, said, prompt, calls):
            return Missing(reply=number, problem=missing)
        return self._draft(asked, said, before, (*prompt, *reply), calls)

    def _draft(
        self,
        asked: str,
        said: str,
        before: list[dict[str, str]],
        turns: Sequence[Turn],
        calls: Sequence[Call],
    ) -> Draft:
        last = turns[-1]
        left_out = sorted({kind for turn in turns for kind in turn.left_out})
        if len(calls) > MAX_TOOL_CALLS:
            left_out.append("tool calls")
        metadata = {**self._common.get("metadata", {}), **last.metadata}
        values: dict[str, Any] = {
            **self._common,
            "prompt": asked,
            "response": said,
            "history": before,
            "tool_calls": [call.as_sent() for call in calls[:MAX_TOOL_CALLS]],
            "source_id": last.id,
            "metadata": {**metadata, **({"left_out": left_out} if left_out else {})},
        }
        if self._has_system:
            values["system_prompt"] = "\n\n".join(part for part in self._system if part.strip())
        if last.finish_reason is not None:
            values["finish_reason"] = last.finish_reason
        times = [turn.at for turn in reversed(turns) if turn.at is not None]
        return Draft(values=values, at=times[0] if times else self._at)

    def _remember(self, group: list[dict[str, str]]) -> None:
        """Add to the history, and let go of what is too long ago, or too long itself."""
        if not group:
            return
        self._history.append(group)
        self._history_turns += len(group)
        self._history_characters += _characters(group)
        is_too_long = any(len(turn["content"]) > MAX_TEXT_CHARACTERS for turn in group)
        while self._history and (
            is_too_long
            or self._history_turns > MAX_HISTORY_TURNS
            or self._history_characters > MAX_HISTORY_CHARACTERS
        ):
            gone = self._history.popleft()
            self._history_turns -= len(gone)
            self._history_characters -= _characters(gone)


def _missing(asked: str, said: str, prompt: Sequence[Turn], calls: Sequence[Call]) -> str | None:
    if not asked.strip():
        kinds = sorted({kind for turn in prompt for kind in turn.left_out})
        return f"the prompt has no text{' beside ' + ', '.join(kinds) if kinds else ''}"
    if not said.strip():
        return f"the reply has no text{' beside tool calls' if calls else ''}"
    return None


def _joined(turns: Iterable[Turn]) -> str:
    texts = [turn.text for turn in turns if turn.text.strip()]
    return texts[0] if len(texts) == 1 else "\n\n".join(texts)


def _characters(group: Iterable[Mapping[str, str]]) -> int:
    return sum(len(turn["content"]) for turn in group)


def as_arguments(written: Any) -> dict[str, Any]:
    """A call's arguments, which some write as JSON within text; other shapes go under `value`."""
    if isinstance(written, str):
        try:
            written = json.loads(written) if written.strip() else {}
        except (ValueError, RecursionError):
            return {"value": written}
    if isinstance(written, dict):
        return written
    return {} if written is None else {"value": written}


def _held(value: Any) -> Any:
    """A value as it is, or the beginning of its text where an exchange cannot hold it."""
    try:
        return bounded_json(value)
    except PydanticCustomError:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return text[:MAX_CUT_CHARACTERS] + "…"
