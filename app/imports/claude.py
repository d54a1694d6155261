"""Claude's export: `conversations.json`, a list of conversations with `chat_messages`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from app.imports.content import read_content
from app.imports.turns import Draft, Missing, Role, Turn, Unreadable, exchanges_of

ROLES = {"human": Role.USER, "assistant": Role.ASSISTANT}


def fits(record: Any) -> bool:
    """Whether a record is a conversation of this form."""
    return isinstance(record, dict) and isinstance(record.get("chat_messages"), list)


def read(record: Any) -> Iterator[Draft | Missing]:
    """The exchanges of one conversation. Raises: Unreadable."""
    common: dict[str, Any] = {"metadata": {"source": "claude"}}
    if isinstance(record.get("uuid"), str):
        common["session"] = record["uuid"][:256]
    if isinstance(record.get("name"), str) and record["name"]:
        common["metadata"]["title"] = record["name"][:256]
    turns = (turn for message in record["chat_messages"] for turn in _read_message(message))
    yield from exchanges_of(turns, common, at=record.get("created_at"))


def _read_message(message: Any) -> Iterator[Turn]:
    role = ROLES.get(str(message.get("sender", ""))) if isinstance(message, dict) else None
    if role is None:
        raise Unreadable("a message is from neither human nor assistant")
    content = read_content(message.get("content") or message.get("text"))
    files = message.get("files") or message.get("attachments")
    at = message.get("created_at")
    yield Turn(
        role=role,
        text=content.text,
        calls=tuple(content.calls),
        at=at,
        id=message["uuid"] if isinstance(message.get("uuid"), str) else None,
        left_out=(*content.left_out, *(("file",) if files else ())),
    )
    if content.results:
        yield Turn(role=Role.TOOL, calls=tuple(content.results), at=at)
