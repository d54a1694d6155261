"""OpenAI's form: `{"messages": [{"role", "content"}, ...]}`, as lines, as a list, or bare.

Read too: a list of messages by itself, `prompt` and `completion` as lists of messages, parts of
Anthropic's form within a message, and a reply's `reasoning_content`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from app.imports.content import (
    is_failure,
    read_calls,
    read_content,
    read_result,
    take_hermes_calls,
    with_reasoning,
)
from app.imports.turns import Call, Draft, Missing, Role, Turn, Unreadable, exchanges_of

ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "human": Role.USER,
    "assistant": Role.ASSISTANT,
    "model": Role.ASSISTANT,
    "ai": Role.ASSISTANT,
    "tool": Role.TOOL,
    "function": Role.TOOL,
    "ipython": Role.TOOL,
}
LABELS = ("session", "phase")
_FINISH_REASONS = frozenset({"stop", "length", "tool_calls", "function_call", "content_filter"})


def is_message(value: Any) -> bool:
    """Whether a value is one message of this form; one that only calls tools may lack content."""
    if not isinstance(value, dict) or not isinstance(value.get("role"), str):
        return False
    return any(name in value for name in ("content", "tool_calls", "function_call"))


def fits(record: Any) -> bool:
    """Whether a record is a conversation of this form."""
    if isinstance(record, list):
        return bool(record) and all(is_message(item) for item in record)
    if not isinstance(record, dict):
        return False
    messages = record.get("messages")
    if isinstance(messages, list):  # others have a list of this name, too
        return not messages or any(isinstance(item, dict) and "role" in item for item in messages)
    return isinstance(record.get("prompt"), list) and isinstance(record.get("completion"), list)


def read(record: Any) -> Iterator[Draft | Missing]:
    """The exchanges of one conversation. Raises: Unreadable."""
    if isinstance(record, list):
        yield from exchanges_of(_turns(record))
        return
    messages = record.get("messages")
    if messages is None:
        messages = [*record["prompt"], *record["completion"]]
    turns = with_system(record.get("system"), _turns(messages))
    yield from exchanges_of(turns, common_of(record), at=time_of(record))


def with_system(system: Any, turns: Iterator[Turn]) -> Iterator[Turn]:
    """Turns, with a system prompt that stands beside them in front."""
    if isinstance(system, str):
        yield Turn(role=Role.SYSTEM, text=system)
    yield from turns


def common_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """What records of several forms say of a whole conversation: where it belongs, whose it is."""
    common: dict[str, Any] = {}
    for name in LABELS:
        value = record.get(name)
        if isinstance(value, str) and value.strip():
            common[name] = value[:256]
        elif name == "session" and isinstance(value, int) and not isinstance(value, bool):
            common |= {"session": str(value), "session_number": value if value >= 0 else None}
    metadata = {name: record[name] for name in ("model", "machine") if _is_word(record.get(name))}
    return {**common, "metadata": metadata} if metadata else common


def time_of(record: Mapping[str, Any]) -> Any:
    """When a conversation began, by the names that several forms have for it."""
    names = ("occurred_at", "timestamp", "created_at", "create_time", "created", "started", "start")
    return next((record[name] for name in names if record.get(name) is not None), None)


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 256


def _turns(messages: list[Any]) -> Iterator[Turn]:
    for message in messages:
        yield from read_message(message)


def read_message(message: Any) -> Iterator[Turn]:
    """One message as turns: results that stand within it come first. Raises: Unreadable."""
    if not isinstance(message, dict):
        raise Unreadable("a message is no object")
    named = str(message.get("role", ""))
    role = ROLES.get(named.lower())
    if role is None:
        raise Unreadable(f"a message has no role that is known ({', '.join(ROLES)})")
    content = read_content(message.get("content"))
    at = time_of(message)
    if role is Role.TOOL:
        result = read_result(content.text)
        answer = Call(
            name=str(message.get("name") or "tool"),
            id=message.get("tool_call_id"),
            result=result,
            success=not is_failure(result),
        )
        yield Turn(role=role, calls=(answer,), at=at)
        return
    if content.results:
        yield Turn(role=Role.TOOL, calls=tuple(content.results), at=at)
        if not content.text.strip():
            return
    if role is not Role.ASSISTANT:
        yield Turn(role=role, text=content.text, at=at, left_out=tuple(content.left_out))
        return
    text, marked = take_hermes_calls(content.text)
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    finish_reason = message.get("finish_reason")
    yield Turn(
        role=role,
        text=with_reasoning(reasoning, text) if isinstance(reasoning, str) else text,
        calls=(*read_calls(message), *content.calls, *marked),
        at=at,
        finish_reason=finish_reason if finish_reason in _FINISH_REASONS else None,
        is_learned=message.get("weight", 1) != 0,
        left_out=tuple(content.left_out),
    )
