"""ShareGPT's form: `{"conversations": [{"from": "human" | "gpt" | ..., "value"}, ...]}`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from app.imports.content import is_failure, read_call, read_result, take_hermes_calls
from app.imports.messages import common_of, is_message, read_message, time_of, with_system
from app.imports.turns import Call, Draft, Missing, Role, Turn, Unreadable, exchanges_of

NAMES = ("conversations", "conversation", "items")
ROLES = {
    "system": Role.SYSTEM,
    "human": Role.USER,
    "user": Role.USER,
    "prompter": Role.USER,
    "gpt": Role.ASSISTANT,
    "chatgpt": Role.ASSISTANT,
    "bing": Role.ASSISTANT,
    "bard": Role.ASSISTANT,
    "assistant": Role.ASSISTANT,
    "model": Role.ASSISTANT,
    "observation": Role.TOOL,
    "tool": Role.TOOL,
    "function_response": Role.TOOL,
}
CALLS = frozenset({"function_call", "tool_call"})


def is_turn(value: Any) -> bool:
    """Whether a value is one turn of this form."""
    return isinstance(value, dict) and "from" in value and "value" in value


def fits(record: Any) -> bool:
    """Whether a record is a conversation of this form."""
    return isinstance(record, dict) and _turns_of(record) is not None


def read(record: Any) -> Iterator[Draft | Missing]:
    """The exchanges of one conversation. Raises: Unreadable."""
    turns = _turns_of(record)
    if turns is None:
        raise Unreadable("conversations is no list of turns with from and value")
    system = record.get("system")
    common = common_of(record)
    yield from exchanges_of(with_system(system, _read_turns(turns)), common, at=time_of(record))


def _turns_of(record: dict[str, Any]) -> list[Any] | None:
    for name in NAMES:
        turns = record.get(name)
        if isinstance(turns, list) and turns and all(is_turn(t) or is_message(t) for t in turns):
            return turns
    return None


def _read_turns(turns: list[Any]) -> Iterator[Turn]:
    for turn in turns:
        if is_turn(turn):
            yield _read_turn(turn)
        else:
            yield from read_message(turn)


def _read_turn(turn: dict[str, Any]) -> Turn:
    speaker, value = str(turn["from"]).lower(), turn["value"]
    if speaker in CALLS:
        return Turn(role=Role.ASSISTANT, calls=tuple(_read_calls(value)))
    role = ROLES.get(speaker)
    if role is None:
        raise Unreadable(f"a turn is from nobody known ({', '.join((*ROLES, *sorted(CALLS)))})")
    if role is Role.TOOL:
        result = read_result(value)
        return Turn(
            role=role, calls=(Call(name="tool", result=result, success=not is_failure(result)),)
        )
    if not isinstance(value, str):
        raise Unreadable("a turn's value is no text")
    text, calls = take_hermes_calls(value) if role is Role.ASSISTANT else (value, [])
    return Turn(
        role=role, text=text, calls=tuple(calls), at=time_of(turn), is_learned=_is_learned(turn)
    )


def _is_learned(turn: dict[str, Any]) -> bool:
    return turn.get("weight", 1) != 0 and turn.get("loss") is not False


def _read_calls(value: Any) -> Iterator[Call]:
    try:
        written = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError) as error:
        raise Unreadable("a function_call is no JSON") from error
    for item in written if isinstance(written, list) else [written]:
        yield read_call(item)
