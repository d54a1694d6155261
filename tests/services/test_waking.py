"""A cycle makes way for its instance, and goes on once the instance is idle."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.db.engine import Database
from app.domain.decision import Trigger
from app.domain.events import CycleWoken
from app.domain.exchange import Exchange
from app.domain.progress import CycleStatus, Progress, Stage
from app.domain.worker_end import WorkerEnd
from app.errors import InstanceNotFound
from app.services import cycle_end, cycle_run, cycles, sleep, waking
from app.services.ingest import Submission, ingest_many
from app.services.instances import put_instance
from tests.support import make_exchange

NOW = datetime(2026, 1, 18, 12, tzinfo=UTC)
IDLE = timedelta(seconds=60)  # the default
A_MOMENT = timedelta(seconds=1)
KILLED = WorkerEnd(exit_code=-9)


def post(db: Database, numbers: range, *, now: datetime = NOW, instance: str = "default") -> None:
    made = [Exchange(**make_exchange(n, instance=instance)) for n in numbers]
    ingest_many(db, [Submission(exchange=exchange) for exchange in made], now=now)


@pytest.fixture
def cycle_id(db: Database) -> str:
    """Of a queued cycle."""
    post(db, range(30))
    request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
    return sleep.request_cycle(db, request, now=NOW).id


def is_asked_to_stop(db: Database, cycle_id: str) -> bool:
    told = Progress(stage=Stage.TRAINING, step=1, total_steps=9)
    stops = cycle_run.record_progress(
        db, cycle_id, worker_id="w", progress=told, is_news=False, heartbeat_at=NOW, now=NOW
    )
    assert stops == cycle_run.read_signs(db, cycle_id).is_stop_requested
    return stops


def next_at(db: Database, now: datetime) -> str | None:
    return cycle_run.find_next_queued(db, now=now).cycle_id


def types(db: Database, cycle_id: str) -> list[str]:
    return [row.type for row in cycles.list_events(db, cycle_id, after_seq=0, limit=99)[0]]


def test_running_cycle_stops_and_goes_on_when_its_instance_is_idle(
    db: Database, cycle_id: str
) -> None:
    cycle_run.start_cycle(db, cycle_id, worker_id="w", now=NOW)
    assert not is_asked_to_stop(db, cycle_id)
    woken = waking.wake(db, "default", actor="session", now=NOW)
    assert woken == waking.Wake(cycle_id=cycle_id, was_running=True, idle_seconds=60.0)
    assert is_asked_to_stop(db, cycle_id)
    cycle_end.stop_cycle(db, cycle_id, worker_id="w", now=NOW)
    assert cycle_end.settle_dead_worker(db, cycle_id, end=WorkerEnd(exit_code=0), now=NOW) == 0
    waiting = cycles.get_cycle(db, cycle_id)[0]
    assert (waiting.status, waiting.attempts) == (CycleStatus.QUEUED, 0)
    assert cycle_run.find_next_queued(db, now=NOW + A_MOMENT).in_seconds == 59
    post(db, range(30, 32), now=NOW + IDLE / 2)
    assert next_at(db, NOW + IDLE) is None
    assert next_at(db, NOW + 1.5 * IDLE) == cycle_id
    cycle_run.start_cycle(db, cycle_id, worker_id="w", now=NOW + 2 * IDLE)
    assert not is_asked_to_stop(db, cycle_id)
    assert types(db, cycle_id)[-4:] == [
        "sleep_cycle.started",
        "sleep_cycle.woken",
        "sleep_cycle.requeued",
        "sleep_cycle.started",
    ]


def test_worker_that_had_to_be_killed_for_it_is_no_death(db: Database, cycle_id: str) -> None:
    for _ in range(5):
        cycle_run.start_cycle(db, cycle_id, worker_id="w", now=NOW)
        waking.wake(db, "default", actor="session", now=NOW)
        assert cycle_end.settle_dead_worker(db, cycle_id, end=KILLED, now=NOW) == 0
    assert cycles.get_cycle(db, cycle_id)[0].status == CycleStatus.QUEUED
    assert "sleep_cycle.worker_killed" not in types(db, cycle_id)


def test_cycle_that_waits_does_not_start_and_others_do(db: Database, cycle_id: str) -> None:
    put_instance(db, "other", {}, now=NOW)
    post(db, range(100, 130), instance="other")
    request = sleep.CycleRequest(instance="other", trigger=Trigger.REQUEST, is_forced=True)
    other = sleep.request_cycle(db, request, now=NOW).id
    assert next_at(db, NOW) == cycle_id
    assert not waking.wake(db, "default", actor="session", now=NOW).was_running
    assert next_at(db, NOW) == other
    assert next_at(db, NOW + IDLE) == cycle_id  # its turn is kept
    assert next_at(db, NOW - IDLE) == cycle_id  # and a clock that jumped back holds nothing off


def test_woken_again_it_waits_anew_and_is_told_once(db: Database, cycle_id: str) -> None:
    waking.wake(db, "default", actor="session", now=NOW)
    waking.wake(db, "default", actor="session", now=NOW + IDLE / 2)
    assert next_at(db, NOW + IDLE) is None
    rows, _ = cycles.list_events(db, cycle_id, after_seq=0, limit=99)
    told = [row.facts for row in rows if row.type == "sleep_cycle.woken"]
    assert told == [CycleWoken(actor="session", idle_seconds=60.0)]


@pytest.mark.parametrize("is_wanted", [True, False])
def test_exchange_wakes_where_the_policy_says_so(
    db: Database, cycle_id: str, *, is_wanted: bool
) -> None:
    put_instance(db, "default", {"policy": {"wake_on_exchange": is_wanted}}, now=NOW)
    cycle_run.start_cycle(db, cycle_id, worker_id="w", now=NOW)
    waking.wake_for_exchanges(db, {"other"}, now=NOW)
    assert not is_asked_to_stop(db, cycle_id)
    waking.wake_for_exchanges(db, {"other", "default"}, now=NOW)
    assert is_asked_to_stop(db, cycle_id) == is_wanted
    waking.wake_for_exchanges(db, {"default"}, now=NOW + IDLE)  # no write for each exchange
    assert cycles.get_cycle(db, cycle_id)[0].woken_at == (NOW if is_wanted else None)


def test_woken_cycle_that_is_cancelled_is_over(db: Database, cycle_id: str) -> None:
    cycle_run.start_cycle(db, cycle_id, worker_id="w", now=NOW)
    waking.wake(db, "default", actor="session", now=NOW)
    sleep.cancel_cycle(db, cycle_id, now=NOW)
    cycle_end.stop_cycle(db, cycle_id, worker_id="w", now=NOW)
    assert cycles.get_cycle(db, cycle_id)[0].status == CycleStatus.CANCELLED


def test_nobody_sleeps_and_nobody_is_there(db: Database) -> None:
    post(db, range(3))
    woken = waking.wake(db, "default", actor="session", now=NOW)
    assert woken == waking.Wake(cycle_id=None, was_running=False, idle_seconds=60.0)
    with pytest.raises(InstanceNotFound):
        waking.wake(db, "nobody", actor="session", now=NOW)
