"""Server-sent events, from bytes: https://html.spec.whatwg.org/multipage/server-sent-events.html.

Must not know where the bytes come from.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

EVENT_STREAM = "text/event-stream"

_LINE_END = re.compile(r"\r\n|\n|\r(?!\Z)")
"""A carriage return at the very end may be half of a pair: the next piece tells."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerSentEvent:
    """One event; `id` is the newest that the stream named, this event's or an earlier one's."""

    type: str
    data: str
    id: str


class EventParser:
    """Takes a stream in pieces of any size and gives the events that are complete."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._rest = ""
        self._data: list[str] = []
        self._type = ""
        self._id = ""
        self.last_id = ""
        """Where to resume: what the stream named last, be it without an event."""

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Take the next bytes."""
        *lines, self._rest = _LINE_END.split(self._rest + self._decoder.decode(chunk))
        found = [self._take(line) for line in lines]
        return [event for event in found if event is not None]

    def _take(self, line: str) -> ServerSentEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._type = value
        elif name == "id" and "\0" not in value:
            self._id = value
        return None

    def _dispatch(self) -> ServerSentEvent | None:
        data, type_ = self._data, self._type or "message"
        self.last_id = self._id
        self._data, self._type = [], ""
        return ServerSentEvent(type=type_, data="\n".join(data), id=self._id) if data else None
