"""Every format that is read: its name, what it is, how a record of it is known, and its reader."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from app.imports import (
    alpaca,
    chatgpt,
    claude,
    exchanges,
    messages,
    open_webui,
    sharegpt,
    transcripts,
)
from app.imports.turns import Draft, Missing


class Format(StrEnum):
    """Whose form a record has."""

    EXPORT = "export"
    CHATGPT = "chatgpt"
    OPEN_WEBUI = "open-webui"
    CLAUDE = "claude"
    ALPACA = "alpaca"
    EXCHANGE = "exchange"
    OPENAI = "openai"
    SHAREGPT = "sharegpt"
    TRANSCRIPT = "transcript"


Read = Callable[[Any, Collection[str]], Iterator[Draft | Missing]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader:
    """How a format is known and read.

    Attributes:
        words: What it looks like, for the help and for who brought something else.
        read: Takes a record, and the names of speakers who are the model.
    """

    words: str
    fits: Callable[[Any], bool]
    read: Read


def _alone(read: Callable[[Any], Iterator[Draft | Missing]]) -> Read:
    """A reader that needs no names: its form says who is the model."""
    return lambda record, _models: read(record)


READERS: Mapping[Format, Reader] = {
    Format.EXPORT: Reader(
        words="what `sage-sleep export` wrote",
        fits=exchanges.is_own_export,
        read=_alone(exchanges.read),
    ),
    Format.CHATGPT: Reader(
        words="ChatGPT's export: its zip, or conversations.json",
        fits=chatgpt.fits,
        read=_alone(chatgpt.read),
    ),
    Format.OPEN_WEBUI: Reader(
        words="Open WebUI's export of chats",
        fits=open_webui.fits,
        read=_alone(open_webui.read),
    ),
    Format.CLAUDE: Reader(
        words="Claude's export: its zip, or conversations.json",
        fits=claude.fits,
        read=_alone(claude.read),
    ),
    Format.ALPACA: Reader(
        words='Alpaca: {"instruction", "input", "output"}',
        fits=alpaca.fits,
        read=_alone(alpaca.read),
    ),
    Format.OPENAI: Reader(
        words='OpenAI messages: {"messages": [{"role", "content"}]}',
        fits=messages.fits,
        read=_alone(messages.read),
    ),
    Format.EXCHANGE: Reader(
        words='exchanges: {"prompt", "response"}, as the older buffer file has them',
        fits=exchanges.fits,
        read=_alone(exchanges.read),
    ),
    Format.SHAREGPT: Reader(
        words='ShareGPT: {"conversations": [{"from", "value"}]}',
        fits=sharegpt.fits,
        read=_alone(sharegpt.read),
    ),
    Format.TRANSCRIPT: Reader(
        words='session transcripts: {"conversation": [{"speaker", "text"}]}, or one turn a line',
        fits=transcripts.fits,
        read=transcripts.read,
    ),
}
"""In the order in which they are asked whether a record is theirs."""

WRAPPERS = ("experiences", "data", "records", "items", "examples", "rows", "chats", "conversations")
"""Names under which programs put the list of all that they export."""


def recognise(record: Any) -> Format | None:
    """The first format that a record fits; None where it fits none."""
    return next((name for name, reader in READERS.items() if reader.fits(record)), None)


def unwrap(value: Any) -> list[Any]:
    """The records in a value: itself, or those of the list that it is or wraps."""
    if recognise(value) is not None:
        return [value]
    if isinstance(value, dict):
        lists = (value[name] for name in WRAPPERS if isinstance(value.get(name), list))
        return next(lists, [value])
    return value if isinstance(value, list) else [value]
