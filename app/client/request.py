"""One request as a value, when it may be sent again, and what an answer or its absence means.

Sent again: after a lost connection, 429 and 502 to 504, with exponential back-off and jitter, for
`retry_seconds` in all. Posting is idempotent (by content, `source_id` or `Idempotency-Key`), so
nothing is done twice; the few requests that are not are repeated only if they never arrived.

Also what a coroutine does and a thread does otherwise: `asleep` and `sleep`, `awork` and `work`.
The `sync_` modules are written from the `async_` ones; there the first of a pair becomes the
second.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeAlias, TypeVar
from urllib.parse import quote

import httpx

from .errors import (
    AnswerNotUnderstood,
    AuthorityUnusable,
    DaemonUnavailable,
    RequestRefused,
    SleepClientError,
)

DEFAULT_URL = "http://127.0.0.1:8760"
TIMEOUT_SECONDS = 10.0
RETRY_SECONDS = 10.0

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

P = ParamSpec("P")
T = TypeVar("T")

Verify: TypeAlias = ssl.SSLContext | Path | str | bool
"""A PEM file of certificate authorities, which are trusted alone; or a context of one's own; True
for the authorities that httpx trusts; False for anyone, which is no protection."""


@dataclass(frozen=True, slots=True)
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
    _: KW_ONLY
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

    def pause_after_answer(self, response: httpx.Response, attempt: int) -> float | None:
        """Seconds to wait before it is sent again after an error; None where it must not be."""
        status = response.status_code
        may_repeat = self.is_repeatable or status == httpx.codes.TOO_MANY_REQUESTS
        if status not in PASSING_STATUSES or not may_repeat:
            return None
        asked_for = _retry_after(response)
        return backoff_seconds(attempt) if asked_for is None else asked_for

    def pause_after_loss(self, error: httpx.TransportError, attempt: int) -> float | None:
        """The same where no answer came."""
        passing = _PASSING_ERRORS if self.is_repeatable else _NEVER_ARRIVED
        if not isinstance(error, passing) or is_distrust(error):
            return None
        return backoff_seconds(attempt)


def batch_request(exchanges: Sequence[Mapping[str, Any]]) -> Request:
    """A request that posts several exchanges."""
    return Request("POST", "/v1/experiences/batch", body={"experiences": list(exchanges)})


def segment(name: str) -> str:
    """A name as one segment of a path, whatever it holds."""
    return quote(name, safe="")


def if_match(revision: int | None) -> dict[str, str]:
    """The header that guards a race."""
    return {} if revision is None else {"If-Match": f'"{revision}"'}


def backoff_seconds(attempt: int, *, longest: float = LONGEST_PAUSE_SECONDS) -> float:
    """Pause before another attempt, counted from 0: doubling, and 50 to 100 % of that by chance."""
    whole = min(longest, FIRST_PAUSE_SECONDS * 2.0 ** min(attempt, 20))
    return random.uniform(0.5, 1.0) * whole  # noqa: S311  # spreads clients, hides nothing


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
        f"No daemon answers at {url} ({type(error).__name__}: {error}); start one with "
        "`sage-sleep serve`, or name the address of one that runs."
    )


def trusted_by(verify: Verify) -> ssl.SSLContext | bool:
    """The same as httpx takes it. Raises: AuthorityUnusable."""
    if isinstance(verify, bool | ssl.SSLContext):
        return verify
    try:
        return ssl.create_default_context(cafile=Path(verify).expanduser())
    except OSError as error:  # ssl.SSLError is one
        raise AuthorityUnusable(
            f"{verify} cannot be used as a CA file ({error.strerror or error}); name a PEM file "
            "with the certificate of the authority."
        ) from error


def is_distrust(error: httpx.TransportError) -> bool:
    """Whether a daemon was reached, and its certificate not trusted."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


async def asleep(seconds: float) -> None:
    """Wait, and let other tasks go on."""
    await asyncio.sleep(seconds)


def sleep(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)


async def awork(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Do what blocks on files in a thread, and let other tasks go on."""
    return await asyncio.to_thread(function, *args, **kwargs)


def work(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Do what blocks on files."""
    return function(*args, **kwargs)


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
        until = until.replace(tzinfo=timezone.utc)
    return max(0.0, (until - datetime.now(timezone.utc)).total_seconds())
