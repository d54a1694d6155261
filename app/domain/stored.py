"""Values as plain JSON and back: one form for the database, manifests, HTTP and the child.

A value is declared once, as a frozen dataclass: its annotations say how it is read and written, a
field's alias what it is called in JSON, its defaults what older versions did not write. What this
program makes is not checked again; what is read is, leniently: what a newer version wrote beside
it is left out. Must not know what is stored where.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, TypeAdapter, WithJsonSchema

Value = TypeVar("Value")

_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}


def _of_null(value: Any) -> Any:
    return float("nan") if value is None else value


Figure = Annotated[
    float,
    BeforeValidator(_of_null),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "null"}]}),
]
"""A measured number. JSON has null where it is not finite: it cannot hold one, and a single `NaN`
makes SQLite before 3.42 refuse the whole of it."""


def to_json(value: Any) -> dict[str, Any]:
    """A value as plain JSON, in the order in which its fields are declared."""
    dumped: dict[str, Any] = dump(type(value), value)
    return dumped


def dump(kind: Any, value: Any) -> Any:
    """The same of a value whose type is no class, such as a tuple of some."""
    return without_infinite(adapter(kind).dump_python(value, mode="json", by_alias=True))


def without_infinite(value: Any) -> Any:
    """Plain JSON with null for each number that is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: without_infinite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [without_infinite(one) for one in value]
    return value


def from_json(kind: type[Value], stored: Mapping[str, Any]) -> Value:
    """Read what `to_json` wrote, of this version or an older one. Raises: ValueError."""
    return adapter(kind).validate_python(stored)


def adapter(kind: type[Value]) -> TypeAdapter[Value]:
    """What reads and writes a kind of value; made when it is first asked for."""
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]
