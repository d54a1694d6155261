"""What a machine reads of every instance, again and again: the figures behind /metrics.

A scrape comes every few seconds and asks about all instances. So what a cycle came to is read once
and kept, ends of cycles are counted from the events since the last scrape, and the rest is a
handful of queries about all instances at once. Counters begin at 0 with the process, as
Prometheus expects of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from threading import Lock

from sqlalchemy.orm import Session

from app.clock import utc_now
from app.db import instances, scrape, sleep_cycles
from app.db.engine import Database
from app.domain.gate import Verdict
from app.domain.progress import CycleStatus, Progress
from app.domain.report import TrainingReport
from app.services.decisions import list_thresholds_within, weigh_many_within
from app.services.instances import effective

OUTCOMES = tuple(status.value for status in CycleStatus if not status.is_active)
JUDGED = (CycleStatus.SUCCEEDED, CycleStatus.REJECTED)
CHECKPOINT_EVENTS = (
    "promoted", "rolled_back", "regressed", "proposed", "dismissed", "damaged", "deleted",
)  # fmt: skip

_OUTCOME_TYPES = {f"sleep_cycle.{outcome}": outcome for outcome in OUTCOMES}
_CHECKPOINT_TYPES = {f"checkpoint.{event}": event for event in CHECKPOINT_EVENTS}


@dataclass(frozen=True, kw_only=True, slots=True)
class GateFigure:
    """One check of the gate: the measured value and its limit."""

    name: str
    value: float
    limit: float


@dataclass(frozen=True, kw_only=True, slots=True)
class CycleFigures:
    """What the newest cycle that was judged came to."""

    cycle_id: str
    tokens_per_second: float
    peak_memory_bytes: float
    held_out_before: float
    held_out_after: float
    seconds: float
    checks: tuple[GateFigure, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceFigures:
    """What a machine reads of one instance.

    Attributes:
        counts: Experiences by status; statuses that never occurred are absent.
        mass: Of what a cycle would train, as the decision counts it.
        progress: Of the running cycle; None while none is.
        outcomes: Cycles that ended since the daemon started, by outcome; empty before the first
            cycle ever.
    """

    instance: str
    counts: Mapping[str, int]
    mass: float
    mass_threshold: float
    has_active_cycle: bool
    progress: Progress | None
    last_cycle: CycleFigures | None
    last_success_at: datetime | None
    outcomes: Mapping[str, int]
    checkpoint_events: Mapping[str, int]


class FigureReader:
    """Reads figures and remembers what cannot change any more; lives as long as the daemon."""

    def __init__(self, db: Database) -> None:
        """Count from now on."""
        self._db = db
        self._lock = Lock()
        self._judged: dict[int, CycleFigures] = {}
        self._events: dict[int, Counter[str]] = {}
        with db.read() as session:
            self._read_up_to = scrape.find_last_event(session)

    def read(self, *, within: Collection[str] | None = None) -> list[InstanceFigures]:
        """The figures of every instance, or of those of these slugs, by slug."""
        with self._lock, self._db.read() as session:
            self._count_events(session)
            rows = instances.list_instances(session, within=within)
            ids = [row.id for row in rows]
            totals = instances.totals_by_status(session, ids)
            active = sleep_cycles.active_by_instance(session, ids)
            succeeded = scrape.newest_by_instance(session, ids, (CycleStatus.SUCCEEDED,))
            self._read_judged(session, ids)
            settled = [effective(session, row) for row in rows]
            masses = weigh_many_within(session, settled, totals)
            thresholds = list_thresholds_within(session, settled, now=utc_now())
            found = []
            for row, mass, threshold in zip(rows, masses, thresholds, strict=True):
                events = self._events.get(row.id, Counter())
                cycle, success = active.get(row.id), succeeded.get(row.id)
                found.append(
                    InstanceFigures(
                        instance=row.slug,
                        counts={status: total.count for status, total in totals[row.id].items()},
                        mass=mass,
                        mass_threshold=threshold,
                        has_active_cycle=cycle is not None,
                        progress=cycle.progress if cycle else None,
                        last_cycle=self._judged.get(row.id),
                        last_success_at=success.finished_at if success else None,
                        outcomes={outcome: events[outcome] for outcome in OUTCOMES}
                        if row.last_cycle_number
                        else {},
                        checkpoint_events={event: events[event] for event in CHECKPOINT_EVENTS},
                    )
                )
            return found

    def _count_events(self, session: Session) -> None:
        names = _OUTCOME_TYPES | _CHECKPOINT_TYPES
        for row in scrape.list_event_types(session, names, after_seq=self._read_up_to):
            self._events.setdefault(row.instance_id, Counter())[names[row.type]] += 1
            self._read_up_to = row.seq

    def _read_judged(self, session: Session, ids: Sequence[int]) -> None:
        """Read what is new: a cycle that was judged never changes."""
        newest = scrape.newest_by_instance(session, ids, JUDGED)
        new = [
            row.id
            for instance_id, row in newest.items()
            if instance_id not in self._judged or self._judged[instance_id].cycle_id != row.id
        ]
        for row in scrape.list_outcomes(session, new) if new else ():
            if row.metrics is not None and row.verdict is not None:
                self._judged[row.instance_id] = _figures(row.id, row.metrics, row.verdict)


def _figures(cycle_id: str, metrics: TrainingReport, verdict: Verdict) -> CycleFigures:
    return CycleFigures(
        cycle_id=cycle_id,
        tokens_per_second=metrics.tokens_per_second,
        peak_memory_bytes=metrics.peak_memory_bytes,
        held_out_before=metrics.held_out_before.nats_per_token,
        held_out_after=metrics.held_out_reloaded.nats_per_token,
        seconds=sum(metrics.seconds.values()),
        checks=tuple(
            GateFigure(name=check.name, value=check.value, limit=check.limit)
            for check in verdict.checks
        ),
    )
