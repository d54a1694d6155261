"""Group commit for single posts: what arrives while one commit syncs shares the next.

A durable commit costs one sync of the disk however many exchanges it holds, so one thread takes
all that wait and stores them in one transaction. Each caller is answered after the commit that
holds its exchange, never before. Beyond `max_queued` waiting exchanges new ones are refused.

Another thread reads long exchanges before they are queued, so that short ones need not wait.
Batches are stored by who brings them, a transaction's worth of one at a time: single posts wait for
one of them at most, however many come.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from app.clock import utc_now
from app.db.dialect import BUSY_TIMEOUT_SECONDS
from app.db.engine import Database
from app.errors import IngestOverloaded, SageSleepError
from app.log import get_logger
from app.services.ingest import (
    IngestResult,
    Submission,
    ingest_many,
    list_touched,
    read_ahead,
)

MAX_GROUP = 256

_log = get_logger(__name__)

_Waiting = tuple[Submission, "asyncio.Future[IngestResult]"]
_Answer = tuple["asyncio.Future[IngestResult]", IngestResult | Exception]


class IngestWriter:
    """The thread that stores single posts, alive from `start` to `stop`."""

    def __init__(
        self,
        db: Database,
        *,
        on_ingested: Callable[[set[str]], None],
        max_queued: int,
    ) -> None:
        self._db = db
        self._on_ingested = on_ingested
        self._max_queued = max_queued
        self._queue: deque[_Waiting] = deque()
        self._filled = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="ingest-writer")
        # One thread: a second would take its time from all else that this process does.
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ingest-reader")
        self._being_read = 0
        self._batch_lock = threading.Lock()

    @property
    def is_alive(self) -> bool:
        """Whether posts are stored."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start storing."""
        self._thread.start()

    def stop(self) -> None:
        """Store what waits, then end."""
        self._stopping = True
        self._reader.shutdown()
        self._filled.set()
        self._thread.join()

    async def submit(self, submission: Submission) -> IngestResult:
        """Store one exchange; returns when it is durable.

        Raises: IngestOverloaded, DatabaseUnavailable, and what the exchange itself is refused with.
        """
        self._require_room()
        if submission.is_long:
            submission = await self._read_ahead(submission)
            self._require_room()
        future: asyncio.Future[IngestResult] = asyncio.get_running_loop().create_future()
        self._queue.append((submission, future))
        self._filled.set()
        result = await future
        if result.error is not None:
            raise result.error
        return result

    @contextmanager
    def batch_turn(self) -> Iterator[None]:
        """Be the one batch that is read and stored. Raises: IngestOverloaded."""
        if not self._batch_lock.acquire(timeout=BUSY_TIMEOUT_SECONDS):
            raise IngestOverloaded("Too many batches wait to be written; try again shortly.")
        try:
            yield
        finally:
            self._batch_lock.release()

    def _require_room(self) -> None:
        if len(self._queue) + self._being_read >= self._max_queued or self._stopping:
            raise IngestOverloaded("Too many exchanges wait to be written; try again shortly.")

    async def _read_ahead(self, submission: Submission) -> Submission:
        self._being_read += 1
        try:
            loop = asyncio.get_running_loop()
            (read,) = await loop.run_in_executor(self._reader, read_ahead, self._db, [submission])
            return read
        finally:
            self._being_read -= 1

    def _run(self) -> None:
        while True:
            self._filled.wait()
            self._filled.clear()
            while self._queue:
                self._store(
                    [self._queue.popleft() for _ in range(min(len(self._queue), MAX_GROUP))]
                )
            if self._stopping and not self._queue:
                return

    def _store(self, group: Sequence[_Waiting]) -> None:
        try:
            results: Sequence[IngestResult | Exception] = self._ingest([s for s, _ in group])
        except SageSleepError as error:
            results = [error] * len(group)
        except Exception as error:  # noqa: BLE001  # one exchange's defect must not cost the others
            if len(group) > 1:
                for waiting in group:
                    self._store([waiting])
                return
            _log.error("ingest.failed", error=type(error).__name__)
            results = [error]
        answers = [(future, result) for (_, future), result in zip(group, results, strict=True)]
        group[0][1].get_loop().call_soon_threadsafe(_resolve, answers)

    def _ingest(self, submissions: Sequence[Submission]) -> Sequence[IngestResult]:
        results = ingest_many(self._db, submissions, now=utc_now())
        if touched := list_touched(submissions, results):
            self._on_ingested(touched)
        return results


def _resolve(answers: Sequence[_Answer]) -> None:
    """In the event loop: wake the callers; one that went away meanwhile is passed over."""
    for future, result in answers:
        if future.cancelled():
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
