"""A load generator that costs little itself: raw HTTP/1.1 over keep-alive connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass


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
    return asyncio.run(_run(port, make_request, connections, seconds, requests_per_second))


async def _run(
    port: int,
    make_request: Callable[[int], bytes],
    connections: int,
    seconds: float,
    requests_per_second: float | None,
) -> Load:
    latencies: list[float] = []
    failures = 0
    numbers = iter(range(10**9))
    pause = connections / requests_per_second if requests_per_second else 0.0
    started = time.perf_counter()

    async def client() -> None:
        nonlocal failures
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (sent_at := time.perf_counter()) - started < seconds:
            writer.write(make_request(next(numbers)))
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            taken = time.perf_counter() - sent_at
            latencies.append(taken)
            failures += not head.startswith(b"HTTP/1.1 2")
            if pause > taken:
                await asyncio.sleep(pause - taken)
        writer.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    elapsed = time.perf_counter() - started
    ordered = sorted(latencies)
    return Load(
        rate=len(ordered) / elapsed,
        p50_ms=1000 * ordered[len(ordered) // 2],
        p99_ms=1000 * ordered[int(len(ordered) * 0.99)],
        requests=len(ordered),
        failures=failures,
    )
