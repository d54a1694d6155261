"""Has a process of its own make of a checkpoint what another runtime reads; one at a time.

Both ends stand here: what the daemon orders with, and what the process answers with. The daemon's
own process imports no numpy and computes nothing; what is made lies on disk, whole or not at all
(`app.artifacts.exports`). One request waits as long as an answer may take; what takes longer goes
on, and whoever asks again gets it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app import errors
from app.artifacts import exports
from app.artifacts.exports import MadeExport
from app.domain.export import ExportOrder
from app.domain.stored import from_json, to_json
from app.errors import ExportFailed, ExportNotReady, SageSleepError
from app.log import get_logger

EXPORT_COMMAND = (sys.executable, "-P", "-m", "app", "make-export")
"""Reads an order on its standard input, makes it, and writes what went wrong, if anything."""

WAIT_SECONDS = 20.0
"""That a request waits; the embedded model takes 2 to 6 s on 2 cores, a model of 7 B minutes."""

MAX_WAITING = 4
"""Requests that wait at a time: each holds one of the few threads that answer."""

_KNOWN = {
    "".join(f"-{c.lower()}" if c.isupper() else c for c in kind.__name__).lstrip("-"): kind
    for kind in (
        errors.AdapterNotExportable, errors.BaseNotExportable, errors.ExportBaseChanged,
        errors.BaseModelAbsent, errors.BaseModelNotFound, errors.CheckpointFilesMissing,
        errors.DiskFull, errors.DirectoryReadOnly,
    )
}  # fmt: skip
"""What the process may say, by its code."""

_log = get_logger(__name__)


@dataclass(kw_only=True, slots=True)
class _Job:
    """An export that is being made, or was and nobody heard of its end yet."""

    ended: threading.Event = field(default_factory=threading.Event)
    error: SageSleepError | None = None


class ExportMaker:
    """Makes exports, and keeps as many as `max_bytes` hold.

    Args:
        root: Where checkpoints lie.
        environment: What the process gets beside this one's own.
        max_bytes: Of all that is kept.
        wait_seconds: That a request waits.
    """

    def __init__(
        self,
        *,
        root: Path,
        environment: Mapping[str, str],
        max_bytes: int,
        wait_seconds: float = WAIT_SECONDS,
        command: Sequence[str] = EXPORT_COMMAND,
    ) -> None:
        self._root = root
        self._environment = environment
        self._max_bytes = max_bytes
        self._wait_seconds = wait_seconds
        self._command = command
        self._places = threading.BoundedSemaphore(MAX_WAITING)
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._jobs: dict[str, _Job] = {}
        self._child: subprocess.Popen[bytes] | None = None
        self._is_stopping = False
        exports.sweep_exports(root)

    def get(self, order: ExportOrder) -> MadeExport:
        """Return an export, made now unless it was before.

        Raises: ExportNotReady; ExportFailed; what keeps it from being made.
        """
        key = exports.key_of(order)
        if (made := exports.find_made(order, key)) is not None:
            return made
        self._wait(order, key)
        if (made := exports.find_made(order, key)) is None:
            raise ExportFailed(f"{order.export} was made and is gone again; ask once more.")
        return made

    def stop(self) -> None:
        """End the process that makes one, and start no other."""
        with self._lock:
            self._is_stopping = True
            if self._child is not None:
                self._child.kill()

    def _wait(self, order: ExportOrder, key: str) -> None:
        """Wait for an export's end. Raises: what went wrong, or ExportNotReady."""
        if not self._places.acquire(blocking=False):
            raise _not_ready(order)
        try:
            job = self._find_or_begin(order, key)
            if not job.ended.wait(self._wait_seconds):
                raise _not_ready(order)
        finally:
            self._places.release()
        with self._lock:
            if self._jobs.get(key) is job:  # whoever asks next begins anew
                del self._jobs[key]
        if job.error is not None:
            raise job.error

    def _find_or_begin(self, order: ExportOrder, key: str) -> _Job:
        with self._lock:
            if (job := self._jobs.get(key)) is not None:
                return job
            job = self._jobs[key] = _Job()
        thread = threading.Thread(
            target=self._make, args=(order, key, job), name="export", daemon=True
        )
        thread.start()
        return job

    def _make(self, order: ExportOrder, key: str, job: _Job) -> None:
        try:
            with self._turn:
                if exports.find_made(order, key) is None:  # or the one before made it
                    self._run(order)
                    exports.let_go(self._root, max_bytes=self._max_bytes, keep=order)
        except SageSleepError as error:
            job.error = error
            _log.warning("export.failed", export=order.export.value, code=error.code)
        except (OSError, ValueError) as error:
            job.error = ExportFailed(f"{order.export} could not be made: {type(error).__name__}.")
            _log.warning("export.failed", export=order.export.value, error=type(error).__name__)
        finally:
            job.ended.set()

    def _run(self, order: ExportOrder) -> None:
        """Let the process make it. Raises: what it says; ExportFailed where it ends without."""
        with self._lock:
            if self._is_stopping:
                raise ExportFailed("The daemon is stopping; ask again when it is back.")
            child = self._child = subprocess.Popen(  # noqa: S603  # our own module
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **self._environment},
                start_new_session=True,
            )
        try:
            if child.stdin is None or child.stdout is None:
                raise ExportFailed("The process that makes it has no pipes.")
            # Its input stays open: that closes when this process is gone, and so ends that one.
            child.stdin.write(json.dumps(to_json(order)).encode() + b"\n")
            child.stdin.flush()
            said = child.stdout.read()
        finally:
            with child:
                child.wait()
            with self._lock:
                self._child = None
        problem = json.loads(said) if child.returncode == 0 and said else None
        if problem is None:
            raise ExportFailed(
                f"The process that makes {order.export} ended with code {child.returncode}; the "
                "daemon's log may say more."
            )
        if problem:
            kind = _KNOWN.get(problem["code"], ExportFailed)
            raise kind(problem["message"])
        _log.info("export.made", export=order.export.value, checkpoint=order.checkpoint)


def answer(line: str, make: Callable[[ExportOrder], None]) -> dict[str, str]:
    """Be that process: make what was ordered; what went wrong, or nothing."""
    try:
        make(from_json(ExportOrder, json.loads(line)))
    except SageSleepError as error:
        return {"code": error.code, "message": error.message}
    return {}


def _not_ready(order: ExportOrder) -> ExportNotReady:
    return ExportNotReady(f"{order.export} is being made; ask again in some seconds.")
