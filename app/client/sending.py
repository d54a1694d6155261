"""One request to its end: sent, sent again where that is safe, and its answer told apart.

Sent again: after a lost connection, 429 and 502 to 504, with exponential back-off and jitter, for
`retry_seconds` in all. Posting is idempotent (by content, `source_id` or `Idempotency-Key`), so
nothing is done twice; the few requests that are not are repeated only if they never arrived.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import httpx

from app.client.errors import (
    AnswerNotUnderstood,
    DaemonUnavailable,
    RequestRefused,
    SleepClientError,
)
from app.client.flows import AskOptions, Flow, Open, Opened, Options, Pause, ReadAll, Request, Send
from app.client.trust import is_distrust

T = TypeVar("T")

PASSING_STATUSES = frozenset({429, 502, 503, 504})
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0

_NEVER_ARRIVED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_PASSING_ERRORS = (
    httpx.NetworkError,
    httpx.TimeoutException,
    httpx.RemoteProtocolError,
    httpx.ProxyError,
)


def backoff_seconds(attempt: int, *, longest: float = LONGEST_PAUSE_SECONDS) -> float:
    """Pause before another attempt, counted from 0: doubling, and 50 to 100 % of that by chance."""
    whole = min(longest, FIRST_PAUSE_SECONDS * 2.0 ** min(attempt, 20))
    return random.uniform(0.5, 1.0) * whole  # noqa: S311  # spreads clients, hides nothing


def call(request: Request, read: Callable[[Any], T]) -> Flow[T]:
    """Send a request and read its JSON answer. Raises: SleepClientError."""
    response = yield from send(request)
    return read(json_of(response))


def send(request: Request, *, retry_seconds: float | None = None) -> Flow[httpx.Response]:
    """Send a request until it is answered or time is over.

    Args:
        retry_seconds: How long to try again; None for the client's own.

    Raises: DaemonUnavailable, RequestRefused.
    """
    options: Options = yield AskOptions()
    deadline = time.monotonic() + (
        options.retry_seconds if retry_seconds is None else retry_seconds
    )
    attempt = 0
    while True:
        cause: Exception | None = None
        try:
            response: httpx.Response = yield Send(request)
            if not response.is_error:
                return response
            failure = refusal(response)
            pause = _retry_after(response)
            may_repeat = isinstance(failure, DaemonUnavailable) and (
                request.is_repeatable or response.status_code == httpx.codes.TOO_MANY_REQUESTS
            )
        except httpx.TransportError as error:
            cause, failure, pause = error, unreachable(options.url, error), None
            repeatable = _PASSING_ERRORS if request.is_repeatable else _NEVER_ARRIVED
            may_repeat = isinstance(error, repeatable) and not is_distrust(error)
        pause = backoff_seconds(attempt) if pause is None else pause
        if not may_repeat or time.monotonic() + pause > deadline:
            raise failure from cause
        yield Pause(pause)
        attempt += 1


def open_stream(request: Request) -> Flow[Opened]:
    """Open a response that comes in pieces, without trying again.

    Raises: DaemonUnavailable, RequestRefused.
    """
    options: Options = yield AskOptions()
    try:
        opened: Opened = yield Open(request)
        if opened.response.is_error:
            yield ReadAll(opened)
            raise refusal(opened.response)
    except httpx.TransportError as error:
        raise unreachable(options.url, error) from error
    return opened


def json_of(response: httpx.Response) -> Any:
    """A response's JSON. Raises: AnswerNotUnderstood."""
    try:
        return response.json()
    except ValueError as error:
        raise AnswerNotUnderstood(
            f"{response.request.url} answered with something that is not JSON; is it a daemon?",
            status=response.status_code,
        ) from error


def refusal(response: httpx.Response) -> SleepClientError:
    """An answer that is an error, as one."""
    try:
        found = response.json()
    except ValueError:
        found = None
    problem = found if isinstance(found, dict) else {}
    kind = DaemonUnavailable if response.status_code in PASSING_STATUSES else RequestRefused
    message = problem.get("detail") or response.reason_phrase or f"HTTP {response.status_code}"
    return kind(str(message), status=response.status_code, problem=problem)


def unreachable(url: str, error: httpx.TransportError) -> DaemonUnavailable:
    """A transport's error as ours."""
    if is_distrust(error):
        return DaemonUnavailable(
            f"What answers at {url} has a certificate that is not trusted ({error}); name the "
            "authority's PEM file: `verify=` of the client, --ca-file or SAGE_CA_FILE of a command."
        )
    return DaemonUnavailable(
        f"No daemon answers at {url} ({type(error).__name__}); start one with `sage-sleep serve`."
    )


def _retry_after(response: httpx.Response) -> float | None:
    """What the daemon asks for, in seconds from now; None if nothing that can be read."""
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())
