"""A running cycle's progress on its way to the database: the latest, at most once a second.

A thread of the child writes, so that a cancel is seen while the trainer says nothing. The heartbeat
it writes is the instant at which the trainer last spoke, so a trainer that hangs has none. Must not
know what the trainer does.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from app.clock import utc_now
from app.db.engine import Database
from app.domain.pace import Expected, Pace
from app.domain.progress import Progress
from app.errors import CycleOwnershipLost, StorageError
from app.log import get_logger
from app.services import cycle_run

INTERVAL_SECONDS = 1.0

_log = get_logger(__name__)


class ProgressWriter:
    """Writes what it is told last, once a second, for as long as its `with` block runs.

    Sets `stop` when someone asked the cycle to stop, or when the cycle is no longer this worker's.
    """

    def __init__(
        self,
        db: Database,
        cycle_id: str,
        *,
        worker_id: str,
        expected: Expected,
        stop: threading.Event,
    ) -> None:
        self._db = db
        self._cycle_id = cycle_id
        self._worker_id = worker_id
        self._stop = stop
        self._pace = Pace(expected, now=time.monotonic())
        self._latest: Progress | None = None
        self._told: Progress | None = None
        self._spoken_at = utc_now()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def __call__(self, progress: Progress) -> None:
        """Take the latest progress, and that the trainer lives; costs nothing."""
        self._spoken_at = utc_now()
        self._latest = self._pace.tell(progress, now=time.monotonic())

    def _run(self) -> None:
        while not self._ended.wait(INTERVAL_SECONDS):
            if self._latest is not None and not self._stop.is_set():
                self._write(self._latest)

    def _write(self, progress: Progress) -> None:
        is_news = progress.is_news_after(self._told)
        try:
            is_stopped = cycle_run.record_progress(
                self._db,
                self._cycle_id,
                worker_id=self._worker_id,
                progress=progress,
                is_news=is_news,
                heartbeat_at=self._spoken_at,
                now=utc_now(),
            )
        except CycleOwnershipLost:
            _log.warning("sleep_cycle.lost", cycle_id=self._cycle_id)
            self._stop.set()
        except StorageError as error:
            # Hours of training are worth more than a line of progress; the next second tries again.
            _log.warning("sleep_cycle.progress_not_written", error=error.message)
        else:
            self._told = progress if is_news else self._told
            if is_stopped:
                self._stop.set()
