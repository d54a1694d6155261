"""What every request body and every list share."""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict

Item = TypeVar("Item")


class RequestModel(BaseModel):
    """A request body: strict, and unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ListOut(BaseModel, Generic[Item]):
    """One page of a list; `next` is the cursor of the page after."""

    data: list[Item]
    has_more: bool
    next: str | None
