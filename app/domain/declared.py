"""Values that are declared once, and the models that take their fields from them.

A declared value is a frozen pydantic dataclass in this package: name, type, default, range and one
line of words for each field. Settings have the same fields, a request has those that may be sent,
and none of them repeats a range. Must not know any one value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    GetCoreSchemaHandler,
    ValidationError,
    create_model,
)
from pydantic_core import CoreSchema, core_schema

from app.errors import InvalidPolicy

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
Model = TypeVar("Model", bound=BaseModel)
Declared = TypeVar("Declared", bound="DataclassInstance")

DECLARED = ConfigDict(extra="forbid", strict=True)
"""How a declared value reads what it is made of: unknown names and other types are refused."""


Share = Annotated[FiniteFloat, Field(ge=0, le=1)]


@dataclass(frozen=True, slots=True)
class Listed:
    """Annotates a tuple whose JSON is a list, and says how many items it may have.

    It is read as a list and then made a tuple: what is wrong is said of a list, and one that is too
    long is refused where its items are still unread.
    """

    min_length: int = 0
    max_length: int | None = None

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        made: Any = handler(source)
        (item,) = made["items_schema"]
        listed = core_schema.list_schema(
            item, min_length=self.min_length, max_length=self.max_length, strict=False
        )
        return core_schema.no_info_after_validator_function(
            tuple,
            listed,
            serialization=core_schema.wrap_serializer_function_ser_schema(
                lambda value, write: tuple(write(list(value)))
            ),
        )


def fields_of(declared: type[Any], *, prefix: str = "") -> dict[str, Any]:
    """The fields of a declared value, with their defaults, for `with_fields`."""
    fields = declared.__pydantic_fields__
    return {prefix + name: (field.annotation, field) for name, field in fields.items()}


def open_fields_of(declared: type[Any], *names: str) -> dict[str, Any]:
    """The same fields, or those of these names; each may be left out, and is None then."""
    fields = declared.__pydantic_fields__
    return {
        name: (
            fields[name].rebuild_annotation() | None,
            Field(None, description=fields[name].description, examples=fields[name].examples),
        )
        for name in names or fields
    }


def with_fields(fields: Mapping[str, Any]) -> Callable[[type[Model]], type[Model]]:
    """Decorate a model so that it has these fields after its own."""

    def make(model: type[Model]) -> type[Model]:
        return create_model(
            model.__name__,
            __base__=model,
            __doc__=model.__doc__,
            __module__=model.__module__,
            **fields,
        )

    return make


def lay_fields_over(value: Declared, changes: Mapping[str, Any], *, section: str) -> Declared:
    """The value with these fields in place of its own; JSON's lists and texts may stand for them.

    Args:
        section: What the value is called where it is a part: `policy` of `/policy/quiet_hours`.

    Raises: InvalidPolicy, which names the field.
    """
    if not changes:
        return value
    try:
        return replace(value, **changes)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[0]
        path = [section, *map(str, found["loc"])]
        message = found["msg"].removeprefix("Value error, ")
        raise InvalidPolicy(
            f"{'.'.join(path)}: {message}.", pointer="".join(f"/{part}" for part in path)
        ) from error


def lay_usable_over(
    lay_over: Callable[[T, Mapping[str, Any]], T], value: T, stored: Mapping[str, Any]
) -> tuple[T, tuple[str, ...]]:
    """Lay over what can be used of changes that were stored, perhaps by an older version.

    Args:
        lay_over: Raises InvalidPolicy with a pointer to the field, as `lay_fields_over` does.

    Returns:
        The value, and a sentence on each field that could not be used and stays as it was.
    """
    changes = dict(stored)
    faults: list[str] = []
    while True:
        try:
            return lay_over(value, changes), tuple(faults)
        except InvalidPolicy as error:
            name = str(error.pointer).split("/")[2]
            del changes[name]
            faults.append(error.message)
