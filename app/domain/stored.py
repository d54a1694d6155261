"""Values as plain JSON and back: one form for the database, manifests, HTTP and the child.

A value is declared once, as a frozen dataclass: its annotations say how it is read and written, a
field's alias what it is called in JSON, its defaults what older versions did not write. What this
program makes is not checked again; what is read is, leniently: what a newer version wrote beside
it is left out. Must not know what is stored where.
"""

from __future__ import annotations

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
"""A measured number. HTTP's JSON has null where it is not finite: it cannot hold one."""


def to_json(value: Any) -> dict[str, Any]:
    """A value as plain JSON, in the order in which its fields are declared."""
    dumped: dict[str, Any] = adapter(type(value)).dump_python(value, mode="json", by_alias=True)
    return dumped


def from_json(kind: type[Value], stored: Mapping[str, Any]) -> Value:
    """Read what `to_json` wrote, of this version or an older one. Raises: ValueError."""
    return adapter(kind).validate_python(stored)


def adapter(kind: type[Value]) -> TypeAdapter[Value]:
    """What reads and writes a kind of value; made when it is first asked for."""
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]
