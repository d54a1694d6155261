"""Copies published checkpoints to the mirror, and takes from it what must not stay there.

It looks again and again: what was published while the mirror was away, or before the policy asked
for it, is found the same way. One copy at a time, in a thread of its own. What fails is tried again
later, and later each time; once something succeeds in the same mirror all of it is tried at once.
Copies may have to go from a mirror that was named earlier; that one's being away holds up no other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from app.clock import utc_now
from app.db.engine import Database
from app.domain.mirror import MAX_DELAY_SECONDS, retry_delay
from app.errors import RuntimeUnavailable, SageSleepError, StorageError
from app.log import get_logger
from app.services import mirroring
from app.services.file_guard import FileGuard
from app.services.mirroring import MirrorState
from app.worker.looking import Looker

if TYPE_CHECKING:
    from app.runtimes.mirror import Mirror

LOOK_SECONDS = 2.0
"""As the webhooks' sender: a look at nothing is two short queries."""

COPY_SECONDS = 6 * 3600.0
"""That one command of rclone may take; one that moves nothing for a minute ends by itself."""

STOP_SECONDS = 5.0

_log = get_logger(__name__)


class Step(NamedTuple):
    """What is done to a checkpoint's copy in one mirror."""

    checkpoint_id: str
    remote: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Outage:
    """How often in a row a mirror did not answer, and until when it is left alone."""

    times: int
    until: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """What went wrong with one copy, how often in a row, and when it is tried again."""

    message: str
    at: datetime
    times: int
    retry_at: datetime


class MirrorSender:
    """The daemon's own thread for one mirror.

    Args:
        remote: `name:path`; None where there is no mirror, and nothing is done.
        root: Where checkpoints lie.
        guard: Looks at their files before they are copied.
    """

    def __init__(
        self,
        db: Database,
        *,
        remote: str | None,
        root: Path,
        guard: FileGuard,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._db = db
        self._remote = remote
        self._root = root
        self._guard = guard
        self._clock = clock
        self._looker = Looker(self.look, name="mirror", look_seconds=LOOK_SECONDS)
        self._stopping = self._looker.stopping
        self._failures: Mapping[Step, Failure] = {}
        self._outages: dict[str, Outage] = {}
        self._said: str | None = None

    def start(self) -> None:
        """Begin, where there is a mirror."""
        if self._remote is not None:
            self._looker.start()

    def stop(self) -> None:
        """End; a copy under way is given up, and is made again after the next start."""
        self._looker.stop(timeout_seconds=STOP_SECONDS)

    def read_state(self) -> MirrorState:
        """How the mirror stands now. Raises: StorageError."""
        last = max(self._failures.values(), key=lambda one: one.at, default=None)
        return MirrorState(
            waiting=mirroring.count_waiting(self._db, self._remote) if self._remote else 0,
            fault=last.message if last else None,
            failed_at=last.at if last else None,
        )

    def look(self) -> int:
        """Take away what must go, copy what waits, read again what long lay there; how many.

        Raises: StorageError.
        """
        if self._remote is None:
            return 0
        steps: dict[Step, Callable[[], None]] = {
            Step(copy.checkpoint_id, copy.remote): partial(self._remove, copy)
            for copy in mirroring.list_unwanted(self._db)
        }
        waiting = mirroring.list_waiting(self._db, self._remote)
        unread = mirroring.list_unread(self._db, self._remote, now=self._clock())
        for checkpoint_id in (*waiting, *unread):
            step = Step(checkpoint_id, self._remote)
            steps[step] = partial(self._copy, checkpoint_id, self._remote)
        self._failures = {one: it for one, it in self._failures.items() if one in steps}
        due = [one for one in steps if self._is_due(one)]
        tried = 0
        for step in sorted(due, key=self._count_failures):  # a bad one holds up no other
            if self._stopping.is_set():
                break
            if self._answers(step.remote):
                tried += 1
                self._try(step, steps[step])
        return tried

    def _try(self, step: Step, act: Callable[[], None]) -> None:
        """Raises: StorageError."""
        try:
            act()
        except StorageError:
            raise
        except SageSleepError as error:
            if not self._stopping.is_set():
                self._note(step, error)
        else:
            self._failures = {
                one: it for one, it in self._failures.items() if one.remote != step.remote
            }
            self._outages.pop(step.remote, None)
            self._said = None if not self._failures else self._said

    def _note(self, step: Step, error: SageSleepError) -> None:
        now, times = self._clock(), self._count_failures(step) + 1
        retry_at = now + timedelta(seconds=retry_delay(times))
        failure = Failure(message=error.message, at=now, times=times, retry_at=retry_at)
        self._failures = {**self._failures, step: failure}
        if isinstance(error, RuntimeUnavailable):  # nor would it answer for the others
            earlier = self._outages.get(step.remote)
            outages = 1 + (earlier.times if earlier else 0)
            until = now + timedelta(seconds=retry_delay(outages))
            self._outages[step.remote] = Outage(times=outages, until=until)
        self._say(error.message, checkpoint_id=step.checkpoint_id)

    def _copy(self, checkpoint_id: str, remote: str) -> None:
        row = mirroring.begin_copy(self._db, checkpoint_id, remote, now=self._clock())
        if row is None:  # deleted, damaged, or marked since an erasure, meanwhile
            return
        self._guard.require_intact(row, now=self._clock())
        is_new = self._mirror(remote).publish(self._root / row.name, row.name, row.files)
        mirroring.end_copy(self._db, checkpoint_id, remote, is_new=is_new, now=self._clock())
        _log.info("mirror.copied", checkpoint_id=checkpoint_id, is_new=is_new)

    def _remove(self, copy: mirroring.Copy) -> None:
        self._mirror(copy.remote).remove(copy.name)
        mirroring.forget_copy(self._db, copy, now=self._clock())
        _log.info("mirror.removed", checkpoint_id=copy.checkpoint_id)

    def _mirror(self, remote: str) -> Mirror:
        from app.runtimes.mirror import Mirror  # noqa: PLC0415  # for who has a mirror
        from app.runtimes.rclone import from_environment  # noqa: PLC0415

        rclone = from_environment(COPY_SECONDS, should_stop=self._stopping.is_set)
        return Mirror(rclone=rclone, remote=remote)

    def _is_due(self, step: Step) -> bool:
        failure = self._failures.get(step)
        return failure is None or self._has_come(failure.retry_at)

    def _answers(self, remote: str) -> bool:
        """Whether a mirror may be asked, as far as is known."""
        outage = self._outages.get(remote)
        return outage is None or self._has_come(outage.until)

    def _has_come(self, at: datetime) -> bool:
        """Whether it is time; what lies further ahead than any delay, a wrong clock has planned."""
        now = self._clock()
        return at <= now or at > now + timedelta(seconds=MAX_DELAY_SECONDS)

    def _count_failures(self, step: Step) -> int:
        failure = self._failures.get(step)
        return 0 if failure is None else failure.times

    def _say(self, fault: str, **facts: str) -> None:
        """Say what is wrong once, and not at every look."""
        if fault != self._said:
            _log.warning("mirror.failed", error=fault, **facts)
        self._said = fault
