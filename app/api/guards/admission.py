"""Who is calling: the presented token, what it grants, and whether one is demanded at all.

**When tokens are demanded.** Always where others can reach the daemon, and with
SAGE_REQUIRE_TOKENS=true. On loopback otherwise as soon as one was ever made: whoever makes a token
wants it asked for, and a daemon behind a proxy listens on loopback too. "Ever": when the last one
is revoked or expires, nothing opens again by itself. SAGE_REQUIRE_TOKENS=false keeps a loopback
daemon open whatever was made.

**What it costs.** A token is read from the database at most once a second, by its public id, and a
revoked one is refused within that second. When it was last used is written at most once an hour,
beside the request, so that asking costs no commit.
"""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

from starlette.concurrency import run_in_threadpool
from starlette.types import Scope as Connection

from app.api.guards.rate_limit import RateLimit
from app.clock import utc_now
from app.db.engine import Database
from app.domain.access import OPEN_ACCESS, Access, Scope, Token, read_token
from app.errors import SageSleepError, ScopeMissing, TokenMissing, TokenRefused
from app.log import get_logger
from app.services import tokens

FRESH_SECONDS = 1.0
MAX_KNOWN = 4096
USE_RECORDED_EVERY = timedelta(hours=1)

_log = get_logger(__name__)


class Admission:
    """Lets callers in; used in the event loop alone."""

    def __init__(self, db: Database, *, is_demanded: bool | None, rates: RateLimit) -> None:
        """Args: is_demanded: None for as soon as a token was made."""
        self._db = db
        self._is_demanded = is_demanded
        self._looked_at = -FRESH_SECONDS
        self._rates = rates
        self._known: dict[str, tuple[float, Token]] = {}
        self._recorded: dict[str, float] = {}

    async def admit(self, connection: Connection, needed: Scope) -> Access:
        """Return what the caller may do, if that is enough.

        Raises: TokenMissing, TokenRefused, ScopeMissing, TooManyRequests, DatabaseUnavailable.
        """
        if not await self._demands():
            self.count(connection)
            return OPEN_ACCESS
        presented = _bearer(connection)
        if presented is None:
            self.count(connection)
            raise TokenMissing(
                "Send a token: Authorization: Bearer ... (`sage-sleep tokens create` makes one)."
            )
        token_id, secret = read_token(presented) or ("", "")
        is_known = token_id in self._known
        if not is_known:
            self.count(connection)  # before the database is asked about what anyone may make up
        token = await self._find(token_id)
        if token is None or not token.matches(secret) or not token.is_usable(utc_now()):
            if is_known:
                self.count(connection)
            _log.info("access.refused", address=_address(connection))
            raise TokenRefused("This token is unknown, revoked or expired.")
        self._record_use(token_id, token)
        access = token.access
        self._rates.take(token_id, access.requests_per_minute)
        if needed not in access.scopes:
            raise ScopeMissing(
                f"This token is not for that: it lacks the scope {needed.value!r}.",
                scope=needed.value,
            )
        return access

    def count(self, connection: Connection) -> None:
        """Count a request of nobody in particular by its address. Raises: TooManyRequests."""
        self._rates.take(_address(connection))

    async def still_admits(self, access: Access) -> bool:
        """Whether what was admitted once would be now; for answers that take long."""
        if access.token_id is None:
            return not await self._demands()
        token = await self._find(access.token_id)
        return token is not None and token.is_usable(utc_now())

    async def _demands(self) -> bool:
        if self._is_demanded is None and time.monotonic() - self._looked_at >= FRESH_SECONDS:
            self._looked_at = time.monotonic()
            try:
                found = await run_in_threadpool(tokens.is_any_token, self._db)
            except SageSleepError:
                self._looked_at = -FRESH_SECONDS
                raise
            if found:
                self._is_demanded = True
        return bool(self._is_demanded)

    async def _find(self, token_id: str) -> Token | None:
        """The token of this id as it was at most a second ago, usable or not."""
        read_at, token = self._known.get(token_id, (-FRESH_SECONDS, None))
        if token is None or time.monotonic() - read_at >= FRESH_SECONDS:
            token = await self._read(token_id)
        return token

    async def _read(self, token_id: str) -> Token | None:
        started = time.monotonic()
        token = await run_in_threadpool(tokens.find_token, self._db, token_id)
        if token is None:
            self._known.pop(token_id, None)
            return None
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[token_id] = (started, token)
        return token

    def _record_use(self, token_id: str, token: Token) -> None:
        """Write the hour of its use beside the request; that it fails costs nothing."""
        hour = USE_RECORDED_EVERY.total_seconds()
        if time.monotonic() - self._recorded.get(token_id, -hour) < hour:
            return
        self._recorded[token_id] = time.monotonic()
        now = utc_now()
        if token.last_used_at is None or now - token.last_used_at >= USE_RECORDED_EVERY:
            loop = asyncio.get_running_loop()
            loop.run_in_executor(None, _write_use, self._db, token_id)


def _write_use(db: Database, token_id: str) -> None:
    try:
        tokens.record_use(db, token_id, now=utc_now())
    except SageSleepError as error:
        _log.debug("access.use_not_recorded", token_id=token_id, error=error.code)


def _bearer(connection: Connection) -> str | None:
    """The token that was sent; empty where the header holds something else."""
    for name, value in connection["headers"]:
        if name == b"authorization":
            scheme, _, text = value.decode("latin-1").partition(" ")
            return text.strip() if scheme.lower() == "bearer" else ""
    return None


def _address(connection: Connection) -> str:
    client = connection.get("client")
    return client[0] if client else ""
