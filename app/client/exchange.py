"""An exchange as a session hands it over, and several as they are posted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timezone
from typing import Any

from .request import Request

MAX_BATCH = 1000
MAX_BATCH_BYTES = 4 * 1024 * 1024
"""The daemon takes 8 MiB in one body unless it is told otherwise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exchange:
    """One exchange of a live session; only prompt and response are required.

    Attributes:
        instance: Slug of the model that answered; it must exist (`put_instance`).
        session: The session's name, free text.
        occurred_at: Aware; a naive one is taken for local time.
        source_id: The session's own id; the same id with another text is refused.
        history: Earlier turns, `{"role": ..., "content": ...}`.
        system_prompt: The exchange's own; None for the instance's, "" where none was used.
        finish_reason: How the reply ended, as in the OpenAI form: `stop`, or `length` if it was
            cut; None where the runtime does not say.
        tool_calls: `{"name": ..., "arguments": {...}, "success": ..., "result": ...}`.
        salience: Components that the caller computed; None for the daemon's own score.
    """

    prompt: str
    response: str
    instance: str | None = None
    session: str | None = None
    session_number: int | None = None
    phase: str | None = None
    occurred_at: datetime | None = None
    source_id: str | None = None
    history: Sequence[Mapping[str, Any]] = ()
    system_prompt: str | None = None
    finish_reason: str | None = None
    tool_calls: Sequence[Mapping[str, Any]] = ()
    metadata: Mapping[str, Any] | None = None
    salience: Mapping[str, float] | None = None


def to_wire(exchange: Exchange | Mapping[str, Any]) -> dict[str, Any]:
    """An exchange, or the same as a mapping, as JSON values; what is not set is left out."""
    values: Mapping[str, Any] = (
        {item.name: getattr(exchange, item.name) for item in fields(exchange)}
        if isinstance(exchange, Exchange)
        else exchange
    )
    return {
        name: _plain(value)
        for name, value in values.items()
        if value is not None and not (isinstance(value, tuple) and not value)
    }


def batch_request(exchanges: Sequence[Mapping[str, Any]]) -> Request:
    """A request that posts up to `MAX_BATCH` exchanges."""
    return Request("POST", "/v1/experiences/batch", body={"experiences": list(exchanges)})


def in_batches(exchanges: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Cut where a batch would hold too many exchanges or too many bytes."""
    batch: list[Mapping[str, Any]] = []
    size_bytes = 0
    for exchange in exchanges:
        added_bytes = len(json.dumps(exchange))
        if batch and (len(batch) == MAX_BATCH or size_bytes + added_bytes > MAX_BATCH_BYTES):
            yield batch
            batch, size_bytes = [], 0
        batch.append(exchange)
        size_bytes += added_bytes
    if batch:
        yield batch


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple):
        return list(value)
    return value
