"""How an operation is written once for both clients: as a generator that asks for what it needs.

A flow yields effects (send this, wait so long, read on) and is sent their results; a driver
carries them out, one by blocking and one by awaiting (`sync_client.py`, `async_client.py`). So
retries, paging, resuming and following stand in one place, and know neither threads nor tasks.
httpx itself does this for authentication (`httpx.Auth.auth_flow`).

A flow must not yield while it is being closed: what it opened, the driver closes.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar
from urllib.parse import quote

import httpx

from app.client.errors import SleepClientError

T = TypeVar("T")
M = TypeVar("M", bound=Callable[..., Any])
E_co = TypeVar("E_co", covariant=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One request as a value.

    Attributes:
        params: Query; a None is left out.
        body: Sent as JSON; None for no body.
        is_repeatable: Whether doing it twice is the same as once, so that it may be sent again
            after an answer was lost. Otherwise it is sent again only if it surely never arrived.
        read_timeout_seconds: How long to wait for the next bytes; None for the client's own.
    """

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    is_repeatable: bool = True
    read_timeout_seconds: float | None = None

    def build(self, http: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """The same for httpx."""
        timeout = http.timeout
        if self.read_timeout_seconds is not None:
            timeout = httpx.Timeout(
                connect=timeout.connect,
                read=self.read_timeout_seconds,
                write=timeout.write,
                pool=timeout.pool,
            )
        headers, content = dict(self.headers), None
        if self.body is not None:
            # Plain ASCII: text with half a surrogate pair must reach the daemon, which refuses it.
            content = json.dumps(self.body, allow_nan=False).encode()
            headers["Content-Type"] = "application/json"
        return http.build_request(
            self.method,
            self.path,
            params={name: value for name, value in self.params.items() if value is not None},
            content=content,
            headers=headers,
            timeout=timeout,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What a client was made with, as far as flows need it."""

    url: str
    retry_seconds: float


@dataclass(frozen=True, slots=True)
class AskOptions:
    """Answered with the client's `Options`."""


@dataclass(frozen=True, slots=True)
class Send:
    """Answered with an `httpx.Response`, read to its end."""

    request: Request


@dataclass(frozen=True, slots=True)
class Open:
    """Answered with an `Opened`: a response of which only the head was read."""

    request: Request


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A response that comes in pieces."""

    response: httpx.Response
    chunks: Any


@dataclass(frozen=True, slots=True)
class ReadOn:
    """Answered with the next bytes of a response; None at its end."""

    opened: Opened


@dataclass(frozen=True, slots=True)
class ReadAll:
    """Read an opened response to its end, as is done with a problem document."""

    opened: Opened


@dataclass(frozen=True, slots=True)
class Close:
    """Close a response before its end."""

    opened: Opened


@dataclass(frozen=True, slots=True)
class Pause:
    """Answered after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Work:
    """Answered with what the function returns; it may block on files."""

    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Emit(Generic[E_co]):
    """Hand a value to the caller, who iterates."""

    value: E_co


Effect: TypeAlias = AskOptions | Send | Open | ReadOn | ReadAll | Close | Pause | Work
Flow: TypeAlias = Generator[Effect, Any, T]
"""A flow that ends with one result."""

Emitting: TypeAlias = Generator[Effect | Emit[E_co], Any, None]
"""A flow that hands out values on its way."""

FLOW_ERRORS = (httpx.HTTPError, httpx.StreamError, SleepClientError, OSError)
"""Errors of effects that a flow is told of; any other ends it."""


def segment(name: str) -> str:
    """A name as one segment of a path, whatever it holds."""
    return quote(name, safe="")


def as_method(method: M, operation: Callable[..., Any], *, returns: str = "{}") -> M:
    """Give a method the name, the description and the signature of the operation it carries out.

    Args:
        returns: What it returns, around the type that the flow ends with or emits.
    """
    functools.update_wrapper(method, operation)
    shown = inspect.signature(operation)
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    inner = str(shown.return_annotation).partition("[")[2].removesuffix("]")
    signature = shown.replace(
        parameters=[own, *shown.parameters.values()], return_annotation=returns.format(inner)
    )
    method.__signature__ = signature  # type: ignore[attr-defined]  # any function has room for it
    return method


class Course(Generic[T]):
    """A flow on its way, for a driver.

    Attributes:
        effect: What it asks for; None at its end.
        result: What it returned, at its end.
    """

    result: T

    def __init__(self, flow: Generator[Any, Any, T]) -> None:
        self._flow = flow
        self.effect: Effect | Emit[Any] | None = None
        self.resume(None)

    def resume(self, answer: Any) -> None:
        """Answer the effect."""
        self._go_on(lambda: self._flow.send(answer))

    def fail(self, error: Exception) -> None:
        """Tell the flow that its effect failed."""
        self._go_on(lambda: self._flow.throw(error))

    def close(self) -> None:
        """End the flow where it stands."""
        self._flow.close()

    def _go_on(self, step: Callable[[], Any]) -> None:
        try:
            self.effect = step()
        except StopIteration as end:
            self.effect, self.result = None, end.value
