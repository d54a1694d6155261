"""When instances are looked at: on an interval, and soon after an exchange came in.

APScheduler runs the evaluation; the decision itself is `app.domain.decision.decide`, and starting a
cycle is `app.services.sleep.request_cycle`, the same as for a person with curl.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from app.clock import utc_now
from app.db.engine import Database
from app.domain.decision import Trigger
from app.errors import Conflict, InstanceNotFound, SettingsUnusable, StorageError
from app.log import get_logger
from app.services import decisions, sleep, waking
from app.worker.clock_watch import ClockWatch
from app.worker.damage_watch import DamageWatch
from app.worker.model_watch import ModelWatch
from app.worker.push_watch import PushWatch
from app.worker.upkeep import Upkeep

NUDGE_DELAY_SECONDS = 0.2
"""Exchanges that come in within this time cause one evaluation together."""

UPKEEP_DELAY_SECONDS = 5.0
"""After the start, which answers first."""

_log = get_logger(__name__)


class Every(IntervalTrigger):  # type: ignore[misc]  # APScheduler has no types
    """An interval that does not count up what it missed, which runs once whatever it is.

    APScheduler makes a list of it before it coalesces: at 30 seconds, a clock that jumped by 400
    days cost 17 s of a core, and one that was set from 1970 costs minutes and gigabytes.
    """

    def get_next_fire_time(
        self, previous_fire_time: datetime | None, now: datetime
    ) -> datetime | None:
        """The first time after both."""
        if previous_fire_time is not None:
            previous_fire_time = max(previous_fire_time, now - self.interval)
        found: datetime | None = super().get_next_fire_time(previous_fire_time, now)
        return found


class SleepScheduler:
    """APScheduler: a job over all instances, one-off jobs for the nudged, and the daily upkeep."""

    def __init__(
        self,
        db: Database,
        *,
        interval_seconds: float,
        on_queued: Callable[[], None],
        upkeep: Upkeep,
        upkeep_interval_seconds: float,
        models: ModelWatch | None = None,
        pushes: Mapping[str, PushWatch] = MappingProxyType({}),
    ) -> None:
        self._db = db
        self._on_queued = on_queued
        self._nudged: set[str] = set()
        self._lock = threading.Lock()
        # The defaults drop a job that is a second late and pile up runs behind a slow one.
        self._scheduler = BackgroundScheduler(
            timezone="UTC",
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        self._repeat("evaluate", self.evaluate_all, seconds=interval_seconds)
        if models is not None:
            self._repeat("models", models.look, seconds=interval_seconds)
        for name, push in pushes.items():
            self._repeat(name, push.look, seconds=interval_seconds)
        self._upkeep = upkeep
        self._damage_watch = DamageWatch(db)
        self._clock_watch = ClockWatch(interval_seconds=interval_seconds, on_jump=self._on_jump)
        self._repeat(
            "upkeep",
            upkeep.run,
            seconds=upkeep_interval_seconds,
            next_run_time=utc_now() + timedelta(seconds=UPKEEP_DELAY_SECONDS),
        )

    def _repeat(self, name: str, job: Callable[[], None], *, seconds: float, **more: Any) -> None:
        every = Every(seconds=seconds, timezone="UTC")
        self._scheduler.add_job(job, every, id=name, **more)

    @property
    def is_alive(self) -> bool:
        """Whether jobs are run."""
        return bool(self._scheduler.running)

    def start(self) -> None:
        """Start evaluating."""
        self._scheduler.start()
        self._clock_watch.start()

    def stop(self) -> None:
        """End, waiting for an evaluation that is under way."""
        self._clock_watch.stop()
        self._upkeep.stop()
        self._scheduler.shutdown(wait=True)

    def nudge(self, slugs: set[str]) -> None:
        """Evaluate these instances soon; cheap enough to be called for every exchange."""
        with self._lock:
            is_planned = bool(self._nudged)
            self._nudged |= slugs
        if not is_planned:
            self._scheduler.add_job(
                self._evaluate_nudged,
                "date",
                run_date=utc_now() + timedelta(seconds=NUDGE_DELAY_SECONDS),
                id="nudge",
                replace_existing=True,
            )

    def evaluate_all(self) -> None:
        """Evaluate every instance, and queue a cycle for each that is due."""
        self._mend()
        self._evaluate(None)

    def _on_jump(self, seconds: float) -> None:
        """Run now what was planned by the old clock."""
        _log.warning("scheduler.clock_jumped", seconds=round(seconds))
        for job in self._scheduler.get_jobs():
            job.modify(next_run_time=utc_now())

    def _mend(self) -> None:
        """Find out whether a database that failed works again, and end a purge that could not."""
        try:
            self._damage_watch.look()
            self._db.retry_failed()
            self._db.finish_purge()
        except StorageError as error:
            _log.warning("scheduler.storage_unavailable", error=error.message)

    def _evaluate_nudged(self) -> None:
        with self._lock:
            slugs, self._nudged = self._nudged, set()
        try:
            waking.wake_for_exchanges(self._db, slugs, now=utc_now())
        except StorageError as error:
            _log.warning("scheduler.storage_unavailable", error=error.message)
        self._evaluate(slugs)

    def _evaluate(self, slugs: set[str] | None) -> None:
        try:
            due = decisions.list_due(self._db, slugs=slugs, now=utc_now())
        except StorageError as error:
            _log.warning("scheduler.storage_unavailable", error=error.message)
            return
        for slug in due:
            self._request(slug)

    def _request(self, slug: str) -> None:
        try:
            cycle = sleep.request_cycle(
                self._db,
                sleep.CycleRequest(instance=slug, trigger=Trigger.SCHEDULE),
                now=utc_now(),
            )
        except SettingsUnusable as error:
            _log.warning("scheduler.settings_unusable", instance=slug, reason=error.message)
        except (Conflict, InstanceNotFound) as error:
            _log.debug("scheduler.not_started", instance=slug, reason=error.code)
        except StorageError as error:
            _log.warning("scheduler.storage_unavailable", instance=slug, error=error.message)
        except Exception as error:  # noqa: BLE001  # one instance must not keep the others awake
            _log.error("scheduler.evaluation_failed", instance=slug, error=type(error).__name__)
        else:
            _log.info("sleep_cycle.queued", instance=slug, cycle_id=cycle.id, number=cycle.number)
            self._on_queued()
