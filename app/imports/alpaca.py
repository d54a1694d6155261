"""Alpaca's form: `{"instruction", "input", "output"}`, one exchange a record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from app.imports.messages import common_of, time_of, with_system
from app.imports.turns import Draft, Missing, Role, Turn, Unreadable, exchanges_of

INPUTS = ("input", "context")
OUTPUTS = ("output", "response")
"""Alpaca's own names, and Dolly's."""


def fits(record: Any) -> bool:
    """Whether a record is of this form."""
    return (
        isinstance(record, dict) and "instruction" in record and any(o in record for o in OUTPUTS)
    )


def read(record: Any) -> Iterator[Draft | Missing]:
    """The exchange of one record. Raises: Unreadable."""
    turns = with_system(record.get("system"), _turns(record))
    yield from exchanges_of(turns, common_of(record), at=time_of(record))


def _turns(record: dict[str, Any]) -> Iterator[Turn]:
    earlier = record.get("history") or []
    if not isinstance(earlier, list):
        raise Unreadable("history is no list of pairs")
    for pair in earlier:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise Unreadable("history is no list of pairs")
        yield Turn(role=Role.USER, text=_text(pair[0], "history"))
        yield Turn(role=Role.ASSISTANT, text=_text(pair[1], "history"), is_learned=False)
    asked = [_text(record["instruction"], "instruction"), _first(record, INPUTS)]
    yield Turn(role=Role.USER, text="\n\n".join(part for part in asked if part.strip()))
    yield Turn(role=Role.ASSISTANT, text=_first(record, OUTPUTS))


def _first(record: dict[str, Any], names: tuple[str, ...]) -> str:
    return next((_text(record[name], name) for name in names if record.get(name)), "")


def _text(value: Any, name: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Unreadable(f"{name} is no text")
    return value
