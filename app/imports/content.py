"""What a message holds: text, or parts of several kinds; and the tools called within it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.imports.turns import Call, Unreadable

_TEXT_PARTS = frozenset({"text", "input_text", "output_text", "refusal"})
_REASONING_PARTS = frozenset({"thinking", "reasoning"})
_HERMES_CALL = re.compile(r"<tool_call>((?:(?!</?tool_call>).)*+)</tool_call>", re.DOTALL)
"""No pattern here may look again, at the next tag, at what it passed over: a reply may be long."""

_HERMES_RESULT = ("<tool_response>", "</tool_response>")


@dataclass(kw_only=True, slots=True)
class Content:
    """A message's content, by kind.

    Attributes:
        results: What tools gave back, as Anthropic's form has it within the user's message.
        left_out: Kinds of what cannot be kept, such as images.
    """

    texts: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    results: list[Call] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All of its text; reasoning in front, between the tags that most models write."""
        said = "\n\n".join(text for text in self.texts if text.strip())
        return with_reasoning("\n".join(self.reasoning), said)


def with_reasoning(reasoning: str, said: str) -> str:
    """A reply with its reasoning as thinking models write it."""
    if not reasoning.strip():
        return said
    return f"<think>\n{reasoning.strip()}\n</think>\n\n{said}"


def read_content(written: Any) -> Content:
    """Read a message's content: text, none, or a list of parts. Raises: Unreadable."""
    content = Content()
    if isinstance(written, str):
        content.texts.append(written)
    elif isinstance(written, dict):
        _add_part(content, written)
    elif isinstance(written, list):
        for part in written:
            _add_part(content, part)
    elif written is not None:
        raise Unreadable("a message's content is neither text nor a list of parts")
    return content


def _add_part(content: Content, part: Any) -> None:
    if isinstance(part, str):
        content.texts.append(part)
        return
    if not isinstance(part, dict):
        raise Unreadable("a message's content has a part that is neither text nor an object")
    kind = str(part.get("type", "text"))
    if kind in _TEXT_PARTS:
        text = part.get("text", part.get(kind))
        if not isinstance(text, str):
            raise Unreadable("a message's content has a text part without text")
        content.texts.append(text)
    elif kind in _REASONING_PARTS:
        text = part.get(kind, part.get("text"))
        content.reasoning.append(text if isinstance(text, str) else "")
    elif kind == "tool_use":
        content.calls.append(
            Call(name=str(part.get("name", "")), arguments=part.get("input"), id=_id(part, "id"))
        )
    elif kind == "tool_result":
        content.results.append(
            Call(
                name="tool",
                id=_id(part, "tool_use_id"),
                result=read_result(_plain(part.get("content"))),
                success=not part.get("is_error", False),
            )
        )
    else:
        content.left_out.append(kind[:64])


def _plain(written: Any) -> Any:
    return read_content(written).text if isinstance(written, list) else written


def read_result(written: Any) -> Any:
    """What a tool gave back: JSON within text as the JSON that it is."""
    if not isinstance(written, str):
        return written
    text, (begin, end) = written.strip(), _HERMES_RESULT
    is_marked = text.startswith(begin) and text.endswith(end)
    text = text[len(begin) : -len(end)].strip() if is_marked else written
    if text[:1] not in {"{", "["}:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def is_failure(result: Any) -> bool:
    """Whether a result says of itself that the call failed."""
    return isinstance(result, dict) and bool(result.get("error"))


def read_calls(message: Mapping[str, Any]) -> Iterator[Call]:
    """The tools that a message of OpenAI's form calls, older and newer. Raises: Unreadable."""
    written = message.get("tool_calls") or []
    if not isinstance(written, list):
        raise Unreadable("tool_calls is no list")
    for item in written:
        yield read_call(item)
    if isinstance(message.get("function_call"), dict):
        yield read_call(message["function_call"])


def read_call(item: Any) -> Call:
    """One call: its name and arguments, which may stand under `function`. Raises: Unreadable."""
    if not isinstance(item, dict):
        raise Unreadable("a tool call is no object")
    said = item.get("function", item.get("custom", item))
    if not isinstance(said, dict) or not isinstance(said.get("name"), str):
        raise Unreadable("a tool call has no name")
    arguments = said.get("arguments", said.get("parameters", said.get("input")))
    return Call(name=said["name"], arguments=arguments, id=_id(item, "id"))


def take_hermes_calls(text: str) -> tuple[str, list[Call]]:
    """A reply without the calls that models write between `<tool_call>` tags, and those calls."""
    calls: list[Call] = []

    def take(found: re.Match[str]) -> str:
        try:
            calls.append(read_call(json.loads(found.group(1))))
        except (ValueError, RecursionError):
            return found.group(0)
        return ""

    left = _HERMES_CALL.sub(take, text) if "<tool_call>" in text else text
    return (left.strip(), calls) if calls else (text, [])


def _id(item: Mapping[str, Any], name: str) -> str | None:
    value = item.get(name)
    return value if isinstance(value, str) else None
