"""What goes to a daemon and what comes from it, as JSON: an `Exchange`, and answers as dataclasses.

What a newer daemon adds to an answer is kept in `raw`, never an error. A field's annotation says
how it is read, `wire` in its metadata what it is called there if that is no name in Python; a field
with a default may be absent. Knows no route.
"""

from __future__ import annotations

import functools
import json
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime, timezone
from typing import Any, Generic, TypeVar, cast

from .errors import AnswerNotUnderstood

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """An answer of the daemon.

    Attributes:
        raw: The whole JSON object, with what this client does not know.
    """

    raw: Mapping[str, Any] = field(repr=False, compare=False, default_factory=dict)


_FRACTION = re.compile(r"\.(\d{1,6})\d*")

R = TypeVar("R", bound=Result)
R_co = TypeVar("R_co", bound=Result, covariant=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Page(Result, Generic[R_co]):
    """One page of a list; `next` is the cursor of the page that follows."""

    data: tuple[R_co, ...]
    has_more: bool
    next: str | None


def decode(kind: type[R], value: Any) -> R:
    """Read a JSON object as a result. Raises: AnswerNotUnderstood."""
    if not isinstance(value, dict):
        raise AnswerNotUnderstood(f"The answer holds no {kind.__name__} where one belongs.")
    known: dict[str, Any] = {"raw": value}
    for name, wire, read, is_required in _readers(cast("Any", kind)):
        if wire in value:
            try:
                known[name] = read(value[wire])
            except (TypeError, ValueError) as error:
                raise AnswerNotUnderstood(
                    f"{kind.__name__}.{name} of the answer cannot be read: {error}"
                ) from error
        elif is_required:
            raise AnswerNotUnderstood(
                f"The answer lacks {kind.__name__}.{name}: is the daemon older than this client?"
            )
    return kind(**known)


def decode_page(kind: type[R], value: Any) -> Page[R]:
    """Read a JSON object as a page of results. Raises: AnswerNotUnderstood."""
    if not isinstance(value, dict) or not isinstance(value.get("data"), list):
        raise AnswerNotUnderstood(f"The answer is no list of {kind.__name__}.")
    return Page(
        raw=value,
        data=tuple(decode(kind, item) for item in value["data"]),
        has_more=bool(value.get("has_more")),
        next=value.get("next"),
    )


@functools.cache
def _readers(kind: Any) -> list[tuple[str, str, Callable[[Any], Any], bool]]:
    hints = typing.get_type_hints(kind)
    return [
        (
            item.name,
            item.metadata.get("wire", item.name),
            _reader_of(hints[item.name]),
            item.default is MISSING and item.default_factory is MISSING,
        )
        for item in fields(kind)
        if item.name != "raw"
    ]


def _reader_of(hint: Any) -> Callable[[Any], Any]:  # noqa: PLR0911  # a row for each shape
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return lambda value: value
    if origin in {typing.Union, types.UnionType}:
        (inner,) = (_reader_of(one) for one in arguments if one is not type(None))
        return lambda value: None if value is None else inner(value)
    if origin is tuple:
        read = _reader_of(arguments[0])
        return lambda value: tuple(read(item) for item in _as(list, value))
    if origin is Mapping:
        read = _reader_of(arguments[1])
        return lambda value: {name: read(item) for name, item in _as(dict, value).items()}
    if isinstance(hint, type) and issubclass(hint, Result):
        return lambda value: decode(hint, _as(dict, value))
    if hint is datetime:
        return _instant
    if hint is float:
        return lambda value: float(_as((int, float), value))
    return functools.partial(_as, hint)


def _instant(value: Any) -> datetime:
    """An instant of ISO 8601; Python 3.10 reads no `Z`, and fractions of 3 or 6 digits alone."""
    text = _FRACTION.sub(lambda found: f".{found[1]:0<6}", _as(str, value))
    return datetime.fromisoformat(f"{text[:-1]}+00:00" if text.endswith("Z") else text)


def _as(kind: Any, value: Any) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        names = kind if isinstance(kind, tuple) else (kind,)
        wanted = " or ".join(cast("type", name).__name__ for name in names)
        raise TypeError(f"{type(value).__name__} where {wanted} belongs")
    return value
