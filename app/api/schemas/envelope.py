"""What every request body and every list share."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

Item = TypeVar("Item")


class RequestModel(BaseModel):
    """A request body: strict, and unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def shown_as(**values: Any) -> ConfigDict:
    """A model's configuration with an example for the OpenAPI document; a test sends each."""
    return ConfigDict(json_schema_extra={"examples": [values]})


class ListOut(BaseModel, Generic[Item]):
    """One page of a list; `next` is the cursor of the page after."""

    data: list[Item]
    has_more: bool
    next: str | None
