"""Connections below HTTP: how long a request's head may take, and how many there may be.

uvicorn waits for ever for a head that does not come, and for a client that does not read; its
`limit_concurrency` answers in plain text without Retry-After. This is its protocol with those three
limits. TLS has one of its own: asyncio gives a handshake 60 s.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.api.problems import RETRY_AFTER_SECONDS, TYPE_PREFIX
from app.errors import CertificateUnusable

_BUSY_BODY = (
    f'{{"type":"{TYPE_PREFIX}too-many-connections","title":"Too many connections","status":503,'
    '"detail":"Too many connections are open; try again shortly."}'
).encode()
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n"
    b"Connection: close\r\nRetry-After: %d\r\nContent-Length: %d\r\n\r\n%s"
    % (RETRY_AFTER_SECONDS, len(_BUSY_BODY), _BUSY_BODY)
)


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's connection, closed when its client keeps it waiting; made by `bounded`."""

    header_timeout_seconds: float
    stalled_timeout_seconds: float
    max_connections: int

    _head_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Take what came, unless there are too many connections."""
        if len(self.connections) > self.max_connections:
            self.transport.write(_BUSY)
            self.transport.close()
            return
        super().data_received(data)
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            self._await_head()

    def on_headers_complete(self) -> None:
        """The head is here: how long the body takes is not decided here."""
        self._end_head_timer()
        super().on_headers_complete()

    def pause_writing(self) -> None:
        """The client does not read: it may, for a while."""
        super().pause_writing()
        self._watch_stall(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """It reads again."""
        super().resume_writing()
        self._end_stall_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._end_head_timer()
        self._end_stall_timer()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        if self._head_timer is None and not self.transport.is_closing():
            self._head_timer = self.loop.call_later(
                self.header_timeout_seconds, self.transport.abort
            )

    def _watch_stall(self, waiting_bytes: int) -> None:
        def end_or_watch_on() -> None:
            still_waiting = self.transport.get_write_buffer_size()
            if still_waiting >= waiting_bytes:
                self.transport.abort()
            else:
                self._watch_stall(still_waiting)

        self._stall_timer = self.loop.call_later(self.stalled_timeout_seconds, end_or_watch_on)

    def _end_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _end_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None


def bounded(
    *, header_timeout_seconds: float, stalled_timeout_seconds: float, max_connections: int
) -> type[BoundedConnection]:
    """The protocol with its limits, as uvicorn wants it: a class that it makes instances of."""

    class Bounded(BoundedConnection):
        """With these limits."""

    Bounded.header_timeout_seconds = header_timeout_seconds
    Bounded.stalled_timeout_seconds = stalled_timeout_seconds
    Bounded.max_connections = max_connections
    return Bounded


def check_certificate(certificate: Path, key: Path) -> None:
    """Raise CertificateUnusable unless the two can serve TLS."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise CertificateUnusable(
            f"SAGE_TLS_CERTIFICATE {certificate} and SAGE_TLS_KEY {key} cannot serve TLS: {error}"
        ) from error
