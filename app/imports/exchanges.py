"""Records that are an exchange by themselves: `prompt` and `response`.

So write this daemon's own export, the older scripts' buffer file, in both of its shapes, and who
posts a batch. What they say beside that is kept: salience, session, time, history, tool calls.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from app.domain.salience import COMPONENTS
from app.imports.content import is_failure
from app.imports.messages import time_of
from app.imports.turns import Call, Draft, Missing, Unreadable

PROMPTS = ("prompt", "question")
ANSWERS = ("response", "completion", "answer")
KEPT = ("finish_reason", "history", "system_prompt", "phase")
OWN_MARKS = frozenset({"content_sha256", "scorer", "received_at"})
"""Fields that the export of this daemon has, and nothing else."""

RUNTIME = ("machine", "model", "metabolic_state", "atp_percentage", "cycle")
"""What the older runtime's buffer says beside the exchange."""


def fits(record: Any) -> bool:
    """Whether a record has an exchange's names; what is wrong with it is said when it is read."""
    if not isinstance(record, dict):
        return False
    return "prompt" in record or "response" in record or {"question", "answer"} <= record.keys()


def is_own_export(record: Any) -> bool:
    """Whether a record was exported by this daemon."""
    return fits(record) and bool(OWN_MARKS & record.keys())


def read(record: Any) -> Iterator[Draft | Missing]:
    """The exchange of one record. Raises: Unreadable."""
    values: dict[str, Any] = {
        "prompt": _first(record, PROMPTS),
        "response": _first(record, ANSWERS),
        "source_id": _source_id(record),
        "metadata": _metadata(record),
        "tool_calls": _calls(record.get("tool_calls")),
    }
    values |= {name: record[name] for name in KEPT if record.get(name) is not None}
    if record.get("truncated") is True and "finish_reason" not in values:
        values["finish_reason"] = "length"
    values |= _session(record)
    if (salience := _salience(record)) is not None:
        values["salience"] = salience
    at = time_of(record)
    yield Draft(values=values, at=record.get("received_at") if at is None else at)


def _first(record: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((record[name] for name in names if name in record), None)


def _session(record: Mapping[str, Any]) -> dict[str, Any]:
    """A session's name and number; the older scripts write the number as its name."""
    session, number = record.get("session"), record.get("session_number")
    if isinstance(session, int) and not isinstance(session, bool):
        session, number = str(session), session if number is None else number
    said = {"session": session, "session_number": number}
    return {name: value for name, value in said.items() if value is not None}


def _source_id(record: Mapping[str, Any]) -> str | None:
    """The client's own id; a number is none: every file counts from 0."""
    source_id = record.get("source_id")
    identity = source_id if source_id is not None else record.get("id")
    return identity if isinstance(identity, str) and not identity.isdigit() else None


def _metadata(record: Mapping[str, Any]) -> Any:
    metadata = record.get("metadata") or {}
    if isinstance(metadata, str):  # as the export to a dataset writes it
        metadata = _parse(metadata, "metadata")
    if not isinstance(metadata, dict):
        return metadata
    said = {
        name: record[name] for name in RUNTIME if isinstance(record.get(name), str | float | int)
    }
    return {**said, **metadata}


def _salience(record: Mapping[str, Any]) -> Any:
    stored = record.get("salience")
    if isinstance(stored, int | float) and not isinstance(stored, bool):
        stored = {name: record.get(name) for name in COMPONENTS}  # of a dataset, side by side
    if not isinstance(stored, dict):
        return stored
    return {name: stored[name] for name in (*COMPONENTS, "total") if name in stored}


def _calls(written: Any) -> Any:
    if isinstance(written, str):
        written = _parse(written, "tool_calls")
    if not isinstance(written, list):
        return written or []
    return [_call(item).as_sent() for item in written]


def _call(item: Any) -> Call:
    """A call of ours, or of the older scripts, which write `error` in place of `result`."""
    if not isinstance(item, dict):
        raise Unreadable("a tool call is no object")
    result = item.get("result", item.get("error"))
    success = item.get("success", "error" not in item and not is_failure(result))
    return Call(
        name=str(item.get("name") or "unnamed"),
        arguments=item.get("arguments"),
        result=result,
        success=bool(success),
    )


def _parse(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{name} is no JSON") from error
