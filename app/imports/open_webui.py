"""Open WebUI's export: a list of chats, each a tree of messages under `chat.history.messages`."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from app.imports.content import is_failure, read_content, with_reasoning
from app.imports.messages import ROLES
from app.imports.trees import branch_of
from app.imports.turns import Call, Draft, Missing, Role, Turn, Unreadable, exchanges_of

_DETAILS = re.compile(
    r"<details\s+type=\"(\w+)\"([^<>]*+)>((?:(?!<details\s+type=|</details>).)*+)</details>\n*",
    re.DOTALL,
)
"""A box within a box goes by itself. No box may be looked through again from the next one."""

_ATTRIBUTE = re.compile(r"\b(\w++)=\"([^\"]*)\"")
_SUMMARY = re.compile(r"\A\s*<summary>.*?</summary>", re.DOTALL)


def fits(record: Any) -> bool:
    """Whether a record is a chat of this form, with what the database adds to it or without."""
    chat = _chat_of(record)
    return isinstance(_object(chat, "history").get("messages"), dict) or (
        isinstance(record, dict)
        and isinstance(record.get("chat"), dict)
        and isinstance(chat.get("messages"), list)
    )


def read(record: Any) -> Iterator[Draft | Missing]:
    """The exchanges on the chat's current branch. Raises: Unreadable."""
    chat = _chat_of(record)
    history = _object(chat, "history")
    if isinstance(history.get("messages"), dict) and history["messages"]:
        messages = branch_of(
            history["messages"], history.get("currentId"), parent="parentId", children="childrenIds"
        )
    else:
        messages = chat.get("messages") or []
    if not isinstance(messages, list):
        raise Unreadable("messages is no list")
    turns = [*_system(chat), *(_read_message(message) for message in messages)]
    began = record.get("created_at") or chat.get("timestamp")
    yield from exchanges_of(turns, _common(record, chat), at=began)


def _chat_of(record: Any) -> Mapping[str, Any]:
    chat = record.get("chat", record) if isinstance(record, dict) else None
    return chat if isinstance(chat, dict) else {}


def _common(record: Mapping[str, Any], chat: Mapping[str, Any]) -> dict[str, Any]:
    common: dict[str, Any] = {"metadata": {"source": "open-webui"}}
    identity = record.get("id") or chat.get("id")
    if isinstance(identity, str) and identity:
        common["session"] = identity[:256]
    title = record.get("title") or chat.get("title")
    if isinstance(title, str) and title:
        common["metadata"]["title"] = title[:256]
    return common


def _system(chat: Mapping[str, Any]) -> Iterator[Turn]:
    text = _object(chat, "params").get("system") or chat.get("system")
    if isinstance(text, str) and text.strip():
        yield Turn(role=Role.SYSTEM, text=text)


def _read_message(message: Any) -> Turn:
    if not isinstance(message, dict):
        raise Unreadable("a message is no object")
    role = ROLES.get(str(message.get("role", "")).lower())
    if role is None:
        raise Unreadable("a message has no role that is known")
    content = read_content(message.get("content"))
    at = message.get("timestamp")
    files = message.get("files")
    left_out = [
        str(item.get("type") or "file")[:64]
        for item in (files if isinstance(files, list) else ())
        if isinstance(item, dict)
    ]
    if role is not Role.ASSISTANT:
        return Turn(role=role, text=content.text, at=at, left_out=(*content.left_out, *left_out))
    text, calls = _part(content.text)
    return Turn(
        role=role,
        text="" if message.get("error") else text,
        calls=tuple(calls),
        at=at,
        id=message["id"] if isinstance(message.get("id"), str) else None,
        finish_reason="length" if message.get("done") is False else None,
        left_out=(*content.left_out, *left_out),
        metadata={"model": message["model"][:256]} if isinstance(message.get("model"), str) else {},
    )


def _part(written: str) -> tuple[str, list[Call]]:
    """A reply without the boxes that the page folds: reasoning in its tags, tool calls apart."""
    calls: list[Call] = []
    reasoning: list[str] = []

    def take(found: re.Match[str]) -> str:
        kind, attributes, inner = found.groups()
        if kind == "reasoning":
            lines = html.unescape(_SUMMARY.sub("", inner)).strip().splitlines()
            reasoning.append("\n".join(line.removeprefix(">").removeprefix(" ") for line in lines))
        elif kind == "tool_calls":
            calls.append(_read_call(dict(_ATTRIBUTE.findall(attributes))))
        elif kind != "code_interpreter":
            return found.group(0)
        return ""

    said = _DETAILS.sub(take, written) if "<details" in written else written
    return with_reasoning("\n".join(reasoning), said.strip() if said != written else said), calls


def _read_call(attributes: Mapping[str, str]) -> Call:
    result = _unquote(attributes.get("result", ""))
    return Call(
        name=html.unescape(attributes.get("name", "")),
        arguments=_unquote(attributes.get("arguments", "")),
        result=result,
        success=not is_failure(result),
        has_result="result" in attributes,
    )


def _unquote(attribute: str) -> Any:
    """JSON within an attribute; text that is JSON again is read once more."""
    value: Any = html.unescape(attribute)
    for _ in range(2):
        if not isinstance(value, str):
            break
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            break
    return value


def _object(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = holder.get(name)
    return value if isinstance(value, dict) else {}
