"""ChatGPT's export: `conversations.json`, a list of trees of messages, in its zip or by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from app.imports.content import is_failure, read_result
from app.imports.trees import branch_of
from app.imports.turns import Call, Draft, Missing, Role, Turn, exchanges_of

CUT = frozenset({"max_tokens", "interrupted"})
SAID = frozenset({"text", "multimodal_text", "code"})
"""Kinds of content that are a reply; thoughts and their recap are others."""

INSTRUCTIONS = "user_editable_context"
"""Custom instructions: hidden from the conversation, and in view of the model."""


def fits(record: Any) -> bool:
    """Whether a record is a conversation of this form."""
    return isinstance(record, dict) and isinstance(record.get("mapping"), dict)


def read(record: Any) -> Iterator[Draft | Missing]:
    """The exchanges on the conversation's current branch. Raises: Unreadable."""
    nodes = branch_of(
        record["mapping"], record.get("current_node"), parent="parent", children="children"
    )
    found = (_read_node(node) for node in nodes)
    common = _common(record)
    yield from exchanges_of((turn for turn in found if turn), common, at=record.get("create_time"))


def _common(record: Mapping[str, Any]) -> dict[str, Any]:
    common: dict[str, Any] = {"metadata": {"source": "chatgpt"}}
    identity = record.get("conversation_id") or record.get("id")
    if isinstance(identity, str) and identity:
        common["session"] = identity[:256]
    if isinstance(record.get("title"), str) and record["title"]:
        common["metadata"]["title"] = record["title"][:256]
    return common


def _read_node(node: Mapping[str, Any]) -> Turn | None:
    """A node's turn; None for one that holds none, or that was neither shown nor said."""
    message = node.get("message")
    if not isinstance(message, dict):
        return None
    role = _object(message, "author").get("role")
    content = _object(message, "content")
    if content.get("content_type") == INSTRUCTIONS:
        return _instructions(content)
    is_unseen = message.get("weight") == 0 and role != "assistant"
    if is_unseen or _object(message, "metadata").get("is_visually_hidden_from_conversation"):
        return None
    if role == "assistant":
        return _read_reply(message, content)
    return _read_other(message, role, content)


def _read_other(message: Mapping[str, Any], role: Any, content: Mapping[str, Any]) -> Turn | None:
    text, left_out = _text(content)
    at = message.get("create_time")
    if role == "tool":
        return _result(_object(message, "author"), text, at)
    if role == "user":
        return Turn(role=Role.USER, text=text, at=at, left_out=left_out)
    return Turn(role=Role.SYSTEM, text=text) if role == "system" and text.strip() else None


def _read_reply(message: Mapping[str, Any], content: Mapping[str, Any]) -> Turn | None:
    """What the model said, or called; None for its thoughts, which the export only sums up."""
    text, left_out = _text(content)
    at = message.get("create_time")
    recipient = message.get("recipient") or "all"
    if recipient != "all":
        call = Call(name=str(recipient), arguments=text)
        return Turn(role=Role.ASSISTANT, calls=(call,), at=at)
    if content.get("content_type") not in SAID:
        return None
    metadata = _object(message, "metadata")
    return Turn(
        role=Role.ASSISTANT,
        text=text,
        at=at,
        id=message["id"] if isinstance(message.get("id"), str) else None,
        finish_reason=_finish_reason(message, metadata),
        is_learned=message.get("weight") != 0,
        left_out=left_out,
        metadata={"model": str(metadata["model_slug"])[:256]} if metadata.get("model_slug") else {},
    )


def _instructions(content: Mapping[str, Any]) -> Turn | None:
    written = (content.get("user_profile"), content.get("user_instructions"))
    texts = [text for text in written if isinstance(text, str) and text.strip()]
    return Turn(role=Role.SYSTEM, text="\n\n".join(texts)) if texts else None


def _result(author: Mapping[str, Any], text: str, at: Any) -> Turn:
    result = read_result(text)
    name = str(author.get("name") or "tool")
    return Turn(
        role=Role.TOOL,
        calls=(Call(name=name, result=result, success=not is_failure(result)),),
        at=at,
    )


def _text(content: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """All text of a message, and the kinds of what else it holds."""
    texts, left_out = [], []
    parts = content.get("parts")
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict):
            if isinstance(part.get("text"), str):  # what was said aloud
                texts.append(part["text"])
            else:
                left_out.append(str(part.get("content_type") or "part")[:64])
    texts += [content[name] for name in ("text", "result") if isinstance(content.get(name), str)]
    return "\n\n".join(text for text in texts if text.strip()), tuple(left_out)


def _finish_reason(message: Mapping[str, Any], metadata: Mapping[str, Any]) -> str | None:
    kind = _object(metadata, "finish_details").get("type")
    if kind in CUT or message.get("status") == "in_progress":
        return "length"
    return "stop" if kind == "stop" else None


def _object(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = holder.get(name)
    return value if isinstance(value, dict) else {}
