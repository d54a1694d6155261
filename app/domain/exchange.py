"""The exchange as a caller sends it: the one shape that HTTP, import and ingest share.

Strict: wrong types, unknown fields, blank or over-long text, NaN, and metadata too deep or too
large are refused before anything is stored.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    field_validator,
)
from pydantic_core import PydanticCustomError

from app.domain.completeness import FinishReason

MAX_TEXT_CHARACTERS = 65_536
MAX_HISTORY_TURNS = 200
MAX_TOOL_CALLS = 100
MAX_JSON_BYTES = 16_384
MAX_JSON_DEPTH = 8
DEFAULT_INSTANCE = "default"
SLUG_PATTERN = r"^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$"

Slug = Annotated[str, StringConstraints(pattern=SLUG_PATTERN)]
"""`<machine>-<model>`, such as `sprout-qwen2.5-0.5b`."""

Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT_CHARACTERS)]
SystemPrompt = Annotated[str, StringConstraints(max_length=MAX_TEXT_CHARACTERS)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Component = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]

_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True)

EXAMPLE: dict[str, JsonValue] = {
    "instance": "default",
    "prompt": "What did we learn today?",
    "response": "We noticed that a mistake, named precisely, teaches us more than praise. I feel "
    "curious: what should we look at together tomorrow?",
    "session": "s-22",
    "session_number": 22,
    "phase": "relating",
    "occurred_at": "2026-01-18T00:10:43Z",
    "source_id": "sprout-s-22-turn-7",
    "history": [
        {"role": "user", "content": "Good evening, SAGE."},
        {"role": "assistant", "content": "Good evening. I notice that it is late."},
    ],
    "tool_calls": [{"name": "read_diary", "arguments": {"day": "2026-01-17"}, "success": True}],
    "finish_reason": "stop",
    "metadata": {"temperature": 0.7},
}
"""What the OpenAPI document shows of an exchange."""


class CallerSalience(BaseModel):
    """Salience components computed by the caller; kept as they are and marked as the caller's."""

    model_config = _STRICT

    surprise: Component
    novelty: Component
    arousal: Component
    reward: Component
    conflict: Component
    total: Annotated[
        Component | None, Field(description="Accepted and ignored: it is the mean of the five.")
    ] = None


class HistoryTurn(BaseModel):
    """An earlier turn of the conversation."""

    model_config = _STRICT

    role: Literal["system", "user", "assistant", "tool"]
    content: Annotated[str, StringConstraints(max_length=MAX_TEXT_CHARACTERS)]


class ToolCall(BaseModel):
    """A tool call made for the response."""

    model_config = _STRICT

    name: Label
    arguments: dict[str, Any] = Field(default_factory=dict)
    success: bool = True
    result: Any = None

    @field_validator("arguments", "result")
    @classmethod
    def _bound(cls, value: Any) -> Any:
        return bounded_json(value)


class Exchange(BaseModel):
    """One exchange of a live session; only prompt and response are required."""

    model_config = ConfigDict(**_STRICT, json_schema_extra={"examples": [EXAMPLE]})

    instance: Slug = DEFAULT_INSTANCE
    prompt: Text
    response: Text
    session: Label | None = None
    session_number: Annotated[int, Field(ge=0, le=2**53)] | None = None
    phase: Label | None = None
    occurred_at: Annotated[AwareDatetime, Field(strict=False)] | None = None
    source_id: Annotated[Label | None, Field(description="The client's own id.")] = None
    history: Annotated[list[HistoryTurn], Field(max_length=MAX_HISTORY_TURNS)] = Field(
        default_factory=list
    )
    system_prompt: Annotated[
        SystemPrompt | None, Field(description="None: the instance's; empty: none was used.")
    ] = None
    finish_reason: Annotated[
        FinishReason | None,
        Field(
            strict=False,
            description="How the reply ended, as in the OpenAI form; `length` means cut. Without "
            "it only strong signs count as a cut.",
        ),
    ] = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=MAX_TOOL_CALLS)] = Field(
        default_factory=list
    )
    metadata: dict[str, Any] = Field(default_factory=dict)
    salience: CallerSalience | None = None

    @field_validator("prompt", "response")
    @classmethod
    def _not_blank(cls, value: str) -> str:
        if not value.strip():
            raise PydanticCustomError("blank_text", "must hold more than white space")
        return value

    @field_validator("system_prompt")
    @classmethod
    def _blank_is_none_used(cls, value: str | None) -> str | None:
        return value if value is None or value.strip() else ""

    @field_validator("occurred_at", mode="before")
    @classmethod
    def _is_text(cls, value: Any) -> Any:
        if isinstance(value, int | float) or (isinstance(value, str) and value[:5].isdigit()):
            raise PydanticCustomError("not_iso_8601", "must be ISO 8601: 2026-01-18T00:10:43Z")
        return value

    @field_validator("occurred_at")
    @classmethod
    def _is_in_range(cls, value: datetime | None) -> datetime | None:
        try:
            return None if value is None else value.astimezone(UTC)
        except OverflowError as error:
            raise PydanticCustomError("out_of_range", "must lie in the years 1 to 9999") from error

    @field_validator("metadata")
    @classmethod
    def _bound(cls, value: dict[str, Any]) -> dict[str, Any]:
        bounded_json(value)
        return value


def bounded_json(value: Any) -> Any:
    """Return the value if it is plain JSON of bounded depth and size, else fail validation."""
    if _is_deeper_than(value, MAX_JSON_DEPTH):
        raise PydanticCustomError(
            "too_deep", "nested deeper than {limit} levels", {"limit": MAX_JSON_DEPTH}
        )
    try:
        size = len(json.dumps(value, allow_nan=False, ensure_ascii=False).encode())
    except (ValueError, TypeError) as error:
        raise PydanticCustomError("not_json", "holds NaN, infinity or invalid text") from error
    if size > MAX_JSON_BYTES:
        raise PydanticCustomError(
            "too_large", "larger than {limit} bytes as JSON", {"limit": MAX_JSON_BYTES}
        )
    return value


def _is_deeper_than(value: Any, limit: int) -> bool:
    """Count levels of nesting without recursion, and no further than the limit."""
    level = [value]
    for _ in range(limit + 1):
        level = [child for item in level for child in _children(item)]
        if not level:
            return False
    return True


def _children(item: Any) -> Iterable[Any]:
    if isinstance(item, dict):
        return item.values()
    return item if isinstance(item, list) else ()
