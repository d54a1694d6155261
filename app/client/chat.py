"""Talking to what is live: a reply as one, or in pieces as it is written. Knows no transport."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .decoding import Result, decode
from .errors import DaemonUnavailable
from .events import EventParser
from .request import Request
from .results import Receipt

READ_TIMEOUT_SECONDS = 600.0
"""Until the next word: others may be served before, and a long conversation is read for minutes."""

END = "[DONE]"


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatMessage(Result):
    """A reply."""

    role: str
    content: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatChoice(Result):
    """The one reply; `length` as `finish_reason` means cut."""

    index: int
    message: ChatMessage
    finish_reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatUsage(Result):
    """Tokens of the conversation and of the reply."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class AnsweredBy(Result):
    """Who answered, and what was kept of it.

    Attributes:
        checkpoint_id: None for the bare base.
        not_recorded: Why nothing was kept although that was asked for.
    """

    instance: str
    checkpoint_id: str | None
    base: str
    experience: Receipt | None
    not_recorded: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatCompletion(Result):
    """A whole reply, in OpenAI's form."""

    id: str
    object: str
    created: int
    model: str
    choices: tuple[ChatChoice, ...]
    usage: ChatUsage
    sage: AnsweredBy

    @property
    def text(self) -> str:
        """What was said."""
        return self.choices[0].message.content


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatPiece:
    """A piece of a reply; the last one says how it ended and who answered."""

    text: str
    finish_reason: str | None = None
    sage: AnsweredBy | None = None


class PieceParser:
    """Takes a stream in chunks of any size and gives the pieces that are complete."""

    def __init__(self) -> None:
        self._parser = EventParser()
        self._is_whole = False

    def feed(self, chunk: bytes) -> Iterator[ChatPiece]:
        """Take the next bytes. Raises: DaemonUnavailable: The reply broke off."""
        for event in self._parser.feed(chunk):
            if event.data == END:
                self._is_whole = True
                continue
            data = json.loads(event.data)
            if "error" in data:
                raise DaemonUnavailable(
                    str(data["error"]["message"]), problem=data.get("sage") or {}
                )
            sage = decode(AnsweredBy, data["sage"]) if "sage" in data else None
            for choice in data["choices"]:
                yield ChatPiece(
                    text=choice["delta"].get("content") or "",
                    finish_reason=choice["finish_reason"],
                    sage=sage,
                )

    def end(self) -> None:
        """Look whether all of it came. Raises: DaemonUnavailable."""
        if not self._is_whole:
            raise DaemonUnavailable("The reply broke off: the daemon is gone, or is stopping.")


def chat_request(
    messages: Sequence[Mapping[str, Any]], model: str, wishes: Mapping[str, Any]
) -> Request:
    """The request for a reply; said twice it would be another, so it is not sent again."""
    return Request(
        "POST",
        "/v1/chat/completions",
        body={"model": model, "messages": [dict(message) for message in messages], **wishes},
        is_repeatable=False,
        read_timeout_seconds=READ_TIMEOUT_SECONDS,
    )
