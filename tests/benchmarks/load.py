"""A load generator that costs little itself: raw HTTP/1.1 over keep-alive connections."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import uvloop

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a load did: requests a second, latencies in milliseconds, answers that were no 2xx."""

    rate: float
    p50_ms: float
    p99_ms: float
    requests: int
    failures: int

    def __str__(self) -> str:
        return (
            f"{self.rate:8.0f}/s  p50 {self.p50_ms:6.2f} ms  p99 {self.p99_ms:6.2f} ms  "
            f"{self.requests} requests, {self.failures} failures"
        )


def request_bytes(method: str, path: str, body: bytes = b"") -> bytes:
    """One request as it goes over the wire."""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Content-Type: application/json\r\n\r\n" + body


def run_load(
    port: int,
    make_request: Callable[[int], bytes],
    *,
    connections: int,
    seconds: float,
    requests_per_second: float | None = None,
) -> Load:
    """Send requests on so many connections, each waiting for its answer; the number is unique.

    Args:
        requests_per_second: Over all connections; None for as many as there come answers.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(port, make_request, connections, seconds, requests_per_second))


async def _run(
    port: int,
    make_request: Callable[[int], bytes],
    connections: int,
    seconds: float,
    requests_per_second: float | None,
) -> Load:
    loop = asyncio.get_running_loop()
    numbers = itertools.count()
    pause = connections / requests_per_second if requests_per_second else 0.0
    started = time.perf_counter()

    def make_client() -> _Client:
        return _Client(lambda: make_request(next(numbers)), until=started + seconds, pause=pause)

    clients: list[_Client] = []
    for _ in range(connections):
        _, client = await loop.create_connection(make_client, "127.0.0.1", port)
        clients.append(client)
    await asyncio.gather(*(client.ended for client in clients))
    elapsed = time.perf_counter() - started
    ordered = sorted(latency for client in clients for latency in client.latencies)
    return Load(
        rate=len(ordered) / elapsed,
        p50_ms=1000 * ordered[len(ordered) // 2],
        p99_ms=1000 * ordered[int(len(ordered) * 0.99)],
        requests=len(ordered),
        failures=sum(client.failures for client in clients),
    )


class _Client(asyncio.Protocol):
    """One connection: sends, waits for the whole answer, sends again.

    A protocol on uvloop, since the generator shares the machine with what it measures: 25 us of
    it per request, where streams of asyncio take 60.
    """

    def __init__(self, make_request: Callable[[], bytes], *, until: float, pause: float) -> None:
        self._make_request = make_request
        self._until = until
        self._pause = pause
        self._received = b""
        self._sent_at = 0.0
        self.latencies: list[float] = []
        self.failures = 0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        request = self._make_request()
        self._sent_at = time.perf_counter()
        if self._sent_at >= self._until:
            self._transport.close()
        else:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not end or length is None or len(body) < int(length[1]):
            return
        self._received = b""
        taken = time.perf_counter() - self._sent_at
        self.latencies.append(taken)
        self.failures += not head.startswith(b"HTTP/1.1 2")
        if self._pause > taken:
            asyncio.get_running_loop().call_later(self._pause - taken, self._send)
        else:
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if error is None and time.perf_counter() < self._until:
            error = ConnectionError("the server closed the connection")
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)
