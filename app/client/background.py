"""Delivering a spool in the background, from a thread or from an asyncio task.

`post` returns as soon as the exchange is on this machine's disk, whether a daemon runs or not. What
an earlier process left in the spool is delivered, too. When the daemon is away it is tried again
with growing pauses. `OneWait` asks such a daemon other things.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from .async_client import AsyncSleepClient
from .errors import DaemonUnavailable, SleepClientError
from .request import backoff_seconds
from .results import BatchItem, Problem
from .spool import Delivery, Spool
from .sync_client import SleepClient
from .wire import Exchange, decode

if TYPE_CHECKING:
    from typing_extensions import Self

LONGEST_PAUSE_SECONDS = 30.0
LOOK_INTERVAL_SECONDS = 60.0
"""How often an idle sender looks for what other processes left in the spool."""

CLOSE_SECONDS = 5.0
FLUSH_SECONDS = 30.0

T = TypeVar("T")


class SpoolSender:
    """Keeps exchanges in a spool and delivers them from a thread of its own.

    Attributes:
        last_error: Why the newest attempt did not deliver everything; None if it did.
        is_away: Whether the newest attempt found no daemon, or none that takes anything from here.
    """

    def __init__(self, client: SleepClient, spool: Spool) -> None:
        self.spool = spool
        self.last_error: str | None = None
        self.is_away = False
        self._client = client
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="sage-sleep-spool", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def post(self, exchange: Exchange | Mapping[str, Any]) -> int:
        """Keep an exchange and return its number in the spool; it is delivered soon.

        Raises: SpoolFull, SpoolUnusable.
        """
        seq = self.spool.add(exchange)
        self._wake.set()
        return seq

    def deliver_one(self, seq: int, exchange: Exchange | Mapping[str, Any]) -> BatchItem | None:
        """Deliver an exchange that is in the spool, with what waits before it.

        Returns:
            What became of it; None while the daemon is there and has not taken it.

        Raises: SleepClientError.
        """
        found = self._deliver(until=seq).results.get(seq)
        if found is None and not self.spool.is_waiting(seq):
            found = self._look_up(seq, exchange)
        return found

    def note_away(self, reason: str) -> None:
        """Note that the daemon did not answer somebody else; the thread looks when it does."""
        self.is_away, self.last_error = True, reason
        self._wake.set()

    def deliver_soon(self) -> None:
        """Let the thread deliver what waits; while the daemon is away, after its pause."""
        self._wake.set()

    def flush(self, max_seconds: float = FLUSH_SECONDS) -> bool:
        """Deliver what waits, now, trying again for so long; returns whether the spool is empty."""
        ends_at = time.monotonic() + max_seconds
        attempt = 0
        while (left := ends_at - time.monotonic()) > 0:
            try:
                self._deliver(max_seconds=left)
                break
            except SleepClientError:
                time.sleep(min(left, backoff_seconds(attempt)))
                attempt += 1
        return not len(self.spool)

    def close(self, max_seconds: float = CLOSE_SECONDS) -> None:
        """Deliver what can be delivered in so many seconds, and stop; the rest waits."""
        if self._stop.is_set():
            return
        if not self.is_away:
            with contextlib.suppress(SleepClientError):
                self._deliver(max_seconds=max_seconds)
        self._stop.set()
        self._wake.set()
        # Where nobody answers, the thread may be waiting for just that: it ends by itself.
        self._thread.join(0.0 if self.is_away else max_seconds)

    def _work(self) -> None:
        failures = 0
        while not self._stop.is_set():
            self._wake.clear()
            try:
                if not self.is_away or len(self.spool) or self._client.is_ready():
                    self._deliver()
            except SleepClientError:
                pass
            except RuntimeError:  # httpx's word for a client that was closed meanwhile
                if self._client.is_closed:
                    return
                raise
            if self.last_error is None:
                failures = 0
                self._wake.wait(LOOK_INTERVAL_SECONDS)
            else:
                failures += 1
                self._stop.wait(backoff_seconds(failures, longest=LONGEST_PAUSE_SECONDS))

    def _deliver(self, *, until: int | None = None, max_seconds: float | None = None) -> Delivery:
        try:
            delivery = self._client.deliver(self.spool, until=until, max_seconds=max_seconds)
        except SleepClientError as error:
            self.is_away, self.last_error = True, str(error)
            raise
        self.is_away, self.last_error = False, _first_reason(delivery)
        return delivery

    def _look_up(self, seq: int, exchange: Exchange | Mapping[str, Any]) -> BatchItem:
        """What became of an exchange that the thread, or another process, delivered meanwhile."""
        if (refused := self.spool.find_rejected(seq)) is not None:
            return BatchItem(index=0, result="rejected", problem=decode(Problem, refused.problem))
        return self._client.post_experiences([exchange]).results[0]


class AsyncSpoolSender:
    """`SpoolSender` for asyncio, in an `async with` block: a task delivers.

    Attributes:
        last_error: Why the newest attempt did not deliver everything; None if it did.
        is_away: Whether the newest attempt found no daemon, or none that takes anything from here.
    """

    def __init__(self, client: AsyncSleepClient, spool: Spool) -> None:
        self.spool = spool
        self.last_error: str | None = None
        self.is_away = False
        self._client = client
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._work(), name="sage-sleep-spool")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def post(self, exchange: Exchange | Mapping[str, Any]) -> int:
        """Keep an exchange and return its number in the spool; it is delivered soon.

        Raises: SpoolFull, SpoolUnusable.
        """
        seq = await asyncio.to_thread(self.spool.add, exchange)
        self._wake.set()
        return seq

    async def flush(self, max_seconds: float = FLUSH_SECONDS) -> bool:
        """Deliver what waits, now, trying again for so long; returns whether the spool is empty."""
        ends_at = time.monotonic() + max_seconds
        attempt = 0
        while (left := ends_at - time.monotonic()) > 0:
            try:
                await self._deliver(max_seconds=left)
                break
            except SleepClientError:
                await asyncio.sleep(min(left, backoff_seconds(attempt)))
                attempt += 1
        return not await asyncio.to_thread(len, self.spool)

    async def aclose(self, max_seconds: float = CLOSE_SECONDS) -> None:
        """Deliver what can be delivered in so many seconds, and stop; the rest waits."""
        if not self.is_away:
            with contextlib.suppress(SleepClientError):
                await self._deliver(max_seconds=max_seconds)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _work(self) -> None:
        failures = 0
        while True:
            self._wake.clear()
            with contextlib.suppress(SleepClientError):
                await self._deliver()
            if self.last_error is None:
                failures = 0
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), LOOK_INTERVAL_SECONDS)
            else:
                failures += 1
                await asyncio.sleep(backoff_seconds(failures, longest=LONGEST_PAUSE_SECONDS))

    async def _deliver(self, *, max_seconds: float | None = None) -> Delivery:
        try:
            delivery = await self._client.deliver(self.spool, max_seconds=max_seconds)
        except SleepClientError as error:
            self.is_away, self.last_error = True, str(error)
            raise
        self.is_away, self.last_error = False, _first_reason(delivery)
        return delivery


class OneWait:
    """Asks the daemon of a spool's sender; one that hangs is waited for once.

    Whether it is back, the sender's thread finds out. No timeout of a request bounds an answer that
    comes byte by byte, so each question is asked in a thread of its own, which is left alone where
    it takes too long.
    """

    def __init__(self, sender: SpoolSender, *, url: str, wait_seconds: float) -> None:
        self._sender = sender
        self._url = url
        self._wait_seconds = wait_seconds

    def ask(self, question: Callable[[], T], *, max_seconds: float | None = None) -> T:
        """Ask; a daemon that does not answer in time is away from then on.

        Args:
            max_seconds: How long it may take; None for `wait_seconds`.

        Raises: SleepClientError; DaemonUnavailable at once while the daemon is away.
        """
        if self._sender.is_away:
            raise DaemonUnavailable(self._sender.last_error or "The daemon does not answer.")
        max_seconds = self._wait_seconds if max_seconds is None else max_seconds
        answer: Future[T] = Future()

        def ask() -> None:
            try:
                answer.set_result(question())
            except BaseException as error:  # noqa: BLE001  # raised where it is waited for
                answer.set_exception(error)

        # A daemon thread: nobody waits for it at the end of the program.
        threading.Thread(target=ask, name="sage-sleep-ask", daemon=True).start()
        try:
            return answer.result(max_seconds)
        except FutureTimeoutError:
            if answer.done():
                raise
            reason = f"No answer from {self._url} within {max_seconds:g} s."
            self._sender.note_away(reason)
            raise DaemonUnavailable(reason) from None
        except DaemonUnavailable as error:
            self._sender.note_away(str(error))
            raise


def _first_reason(delivery: Delivery) -> str | None:
    return next(iter(delivery.held_back.values()), None)
