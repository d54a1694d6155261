"""Asking for sleep: one active cycle, consumed exactly once, given back when it did not succeed."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.db import experiences, trainable
from app.db.engine import Database
from app.db.tables import SleepCycleRow
from app.domain.decision import Trigger
from app.domain.events import ExperiencesSetAside
from app.domain.exchange import Exchange
from app.domain.experience import MAX_ATTEMPTS, CycleRole, Unfit
from app.domain.progress import CycleStatus, Progress, Stage
from app.domain.worker_end import WorkerEnd
from app.errors import (
    CycleOwnershipLost,
    ExperienceInUse,
    IdempotencyKeyReused,
    NothingToConsolidate,
    SleepCycleActive,
    SleepCycleEnded,
    SleepNotDue,
)
from app.services import cycle_end, cycle_run, cycles, decisions, event_log, sleep
from app.services.erasure import erase_experience
from app.services.experiences import get_experience
from app.services.ingest import Submission, ingest_many
from app.services.instances import give_back_what_other_settings_hold, put_instance
from tests.support import Reopen, make_exchange

NOW = datetime(2026, 1, 18, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=2)
KILLED = WorkerEnd(exit_code=-9)


@pytest.fixture(autouse=True)
def _filled(db: Database) -> None:
    fill(db, range(40))


def fill(db: Database, numbers: Any, instance: str = "default") -> None:
    submissions = [
        Submission(exchange=Exchange(**make_exchange(n, instance=instance))) for n in numbers
    ]
    ingest_many(db, submissions, now=NOW)


def ask(db: Database, *, now: datetime = LATER, **values: Any) -> SleepCycleRow:
    request = sleep.CycleRequest(
        **{"instance": "default", "trigger": Trigger.REQUEST, "is_forced": True, **values}
    )
    return sleep.request_cycle(db, request, now=now)


def counts(db: Database) -> dict[str, int]:
    from app.services.stats import collect_stats

    found = collect_stats(db, instance="default", now=LATER)
    return {status: count for status, count in found[0].counts.items() if count}


def test_cycle_claims_what_it_plans(db: Database) -> None:
    cycle = ask(db)
    assert counts(db)["claimed"] == len(cycle.plan.experience_ids)
    assert "buffered" not in counts(db)


def test_mass_over_the_threshold_and_a_quiet_session_make_sleep_due(db: Database) -> None:
    early = decisions.get_decision(db, "default", now=NOW)
    late = decisions.get_decision(db, "default", now=LATER)
    assert [reason.rule for reason in early.reasons if not reason.is_met] == ["idle"]
    assert late.is_due


def test_without_force_the_waiting_rules_hold(db: Database) -> None:
    with pytest.raises(SleepNotDue, match="session active"):
        ask(db, is_forced=False, now=NOW)
    assert "claimed" not in counts(db)


def test_scheduler_and_curl_at_once_start_one_cycle(db: Database) -> None:
    started: list[str] = []
    refused: list[Exception] = []

    def race(trigger: Trigger) -> None:
        try:
            started.append(ask(db, trigger=trigger).id)
        except SleepCycleActive as error:
            refused.append(error)

    threads = [
        threading.Thread(target=race, args=(trigger,))
        for trigger in [Trigger.SCHEDULE, Trigger.REQUEST] * 4
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(started), len(refused)) == (1, 7)


def test_same_idempotency_key_gives_the_same_cycle(db: Database) -> None:
    first = ask(db, idempotency_key="k")
    assert ask(db, idempotency_key="k").id == first.id
    with pytest.raises(IdempotencyKeyReused):
        ask(db, idempotency_key="k", max_experiences=3)
    put_instance(db, "other", {}, now=NOW)
    fill(db, range(4), instance="other")
    assert ask(db, instance="other", idempotency_key="k").id != first.id


def test_dry_run_says_what_would_be_done_and_does_nothing(db: Database) -> None:
    request = sleep.CycleRequest(
        instance="default",
        trigger=Trigger.REQUEST,
        max_experiences=5,
        recipe={"epochs": 7, "device": "cuda:1"},
    )
    preview = sleep.preview_cycle(db, request, now=NOW)
    assert len(preview.plan.experience_ids) == 5
    assert preview.plan.recipe.epochs == 7
    assert preview.question is not None
    assert preview.question.device == "cuda:1"
    assert isinstance(preview.refusal, SleepNotDue)
    assert "claimed" not in counts(db)


def test_overrides_choose_what_is_trained(db: Database) -> None:
    cycle = ask(db, max_experiences=4, recipe={"r": 8, "target_modules": ("q_proj",)})
    assert len(cycle.plan.experience_ids) == 4
    assert cycle.plan.recipe.r == 8
    with db.read() as session:
        chosen = experiences.list_by_ids(session, cycle.plan.experience_ids)
        others = trainable.list_waiting(session, 1, min_salience=0.0, limit=100)
    assert min(row.total for row in chosen) >= max(other.total for other in others)


def test_lower_limit_reaches_experiences_below_the_threshold(db: Database) -> None:
    put_instance(db, "default", {"policy": {"min_salience": 0.99}}, now=NOW)
    assert counts(db) == {"below_threshold": 40}
    with pytest.raises(NothingToConsolidate):
        ask(db)
    assert len(ask(db, min_salience=0.1).plan.experience_ids) > 20


def test_changed_limit_regrades_in_both_directions(db: Database) -> None:
    before = counts(db)
    for limit in (0.99, 0.5):
        put_instance(db, "default", {"policy": {"min_salience": limit}}, now=NOW)
    assert counts(db) == before


def test_queued_cycle_is_cancelled_at_once_and_counts_no_attempt(db: Database) -> None:
    before = counts(db)
    cycle = ask(db)
    assert sleep.cancel_cycle(db, cycle.id, now=LATER).status == "cancelled"
    assert counts(db) == before
    with db.read() as session:
        rows = experiences.list_by_ids(session, cycle.plan.experience_ids)
        assert {row.attempts for row in rows} == {0}
    with pytest.raises(SleepCycleEnded):
        sleep.cancel_cycle(db, cycle.id, now=LATER)


def test_first_start_is_the_first_attempt(db: Database) -> None:
    cycle = ask(db)
    cycle_run.start_cycle(db, cycle.id, worker_id="w", now=LATER)
    rows, _ = cycles.list_events(db, cycle.id, after_seq=0, limit=10)
    assert [row.data for row in rows if row.type == "sleep_cycle.started"] == [{"attempt": 1}]


def test_running_cycle_learns_of_its_cancel_from_its_progress(db: Database) -> None:
    cycle = ask(db)
    cycle_run.start_cycle(db, cycle.id, worker_id="w", now=LATER)
    step = Progress(stage=Stage.TRAINING, step=1, total_steps=9, loss=3.0)
    arguments: dict[str, Any] = {"worker_id": "w", "progress": step}
    arguments |= {"heartbeat_at": LATER, "now": LATER, "is_news": False}
    assert not cycle_run.record_progress(db, cycle.id, **arguments)
    rows, _ = cycles.list_events(db, cycle.id, after_seq=0, limit=10)
    assert "sleep_cycle.progress" not in {row.type for row in rows}
    assert [row.facts for row in event_log.look(db, 0, 1)[1]] == [step]
    sleep.cancel_cycle(db, cycle.id, now=LATER)
    assert cycle_run.record_progress(db, cycle.id, **arguments)
    cycle_end.stop_cycle(db, cycle.id, worker_id="w", now=LATER)
    assert cycles.get_cycle(db, cycle.id)[0].status == CycleStatus.CANCELLED
    assert event_log.look(db, 0, 1)[1] == []


def test_cancelled_cycle_cannot_start(db: Database) -> None:
    cycle = ask(db)
    sleep.cancel_cycle(db, cycle.id, now=LATER)
    with pytest.raises(CycleOwnershipLost):
        cycle_run.start_cycle(db, cycle.id, worker_id="w", now=LATER)


def test_another_worker_cannot_touch_a_cycle(db: Database) -> None:
    cycle = ask(db)
    cycle_run.start_cycle(db, cycle.id, worker_id="mine", now=LATER)
    with pytest.raises(CycleOwnershipLost):
        cycle_end.fail_cycle(db, cycle.id, worker_id="yours", code="x", message="x", now=LATER)


def test_third_failure_quarantines_with_the_reason(db: Database) -> None:
    for attempt in range(MAX_ATTEMPTS):
        cycle = ask(db, max_experiences=5)
        cycle_run.start_cycle(db, cycle.id, worker_id=f"w{attempt}", now=LATER)
        cycle_end.fail_cycle(
            db,
            cycle.id,
            worker_id=f"w{attempt}",
            code="non-finite-loss",
            message="nan",
            now=LATER,
        )
    assert counts(db)["quarantined"] == 5
    with db.read() as session:
        rows = experiences.list_by_ids(session, cycle.plan.experience_ids)
    assert {row.reason for row in rows} == {"failed: non-finite-loss"}


def test_killed_cycle_is_queued_again_and_failed_at_the_third_death(db: Database) -> None:
    cycle = ask(db)
    statuses = []
    for _ in range(cycle_end.MAX_CYCLE_STARTS):
        cycle_run.start_cycle(db, cycle.id, worker_id="w", now=LATER)
        cycle_end.settle_dead_worker(db, cycle.id, end=KILLED, now=LATER)
        statuses.append(cycles.get_cycle(db, cycle.id)[0].status)
    assert statuses == ["queued", "queued", "failed"]
    assert "claimed" not in counts(db)
    found, _, _ = cycles.get_cycle(db, cycle.id)
    assert found.error is not None
    assert found.error.code == "worker-killed"
    rows, _ = cycles.list_events(db, cycle.id, after_seq=0, limit=100)
    hints = [row.data["detail"] for row in rows if row.type == "sleep_cycle.worker_killed"]
    assert len(hints) == 3
    assert "memory" in hints[0]


def test_orderly_restart_of_the_daemon_costs_a_cycle_no_start(db: Database) -> None:
    cycle = ask(db)
    for _ in range(5):
        cycle_run.start_cycle(db, cycle.id, worker_id="w", now=LATER)
        cycle_end.stop_cycle(db, cycle.id, worker_id=None, now=LATER)
    assert cycles.get_cycle(db, cycle.id)[0].status == CycleStatus.QUEUED


def test_cycle_that_takes_the_daemon_down_three_times_is_failed(db: Database) -> None:
    cycle = ask(db)
    for _ in range(3):
        cycle_run.start_cycle(db, cycle.id, worker_id="w", now=LATER)
        assert cycle_end.settle_all_running(db, now=LATER) == 1
    assert cycles.get_cycle(db, cycle.id)[0].status == CycleStatus.FAILED


def test_worker_that_dies_before_it_takes_its_cycle_is_not_started_for_ever(db: Database) -> None:
    cycle = ask(db)
    waiting = [
        cycle_end.settle_dead_worker(db, cycle.id, end=WorkerEnd(exit_code=1), now=LATER)
        for _ in range(3)
    ]
    assert waiting == [1, 2, 0]
    found = cycles.get_cycle(db, cycle.id)[0]
    assert (found.status, found.error and found.error.code) == ("failed", "worker-died")


def test_machines_fault_quarantines_nothing(db: Database) -> None:
    before = counts(db)
    for attempt in range(5):
        cycle = ask(db, max_experiences=5)
        cycle_run.start_cycle(db, cycle.id, worker_id=f"w{attempt}", now=LATER)
        cycle_end.fail_cycle(
            db,
            cycle.id,
            worker_id=f"w{attempt}",
            code="base-model-not-found",
            message="gone",
            now=LATER,
        )
    assert counts(db) == before


def test_what_no_model_can_be_given_is_set_aside_by_name_and_the_rest_given_back(
    db: Database,
) -> None:
    cycle = ask(db)
    train, held_out = cycle.plan.experience_ids[3], cycle.plan.held_out_ids[0]
    unfit = [
        Unfit(experience_id=train, code="chat-template-refuses", text="it says: no"),
        Unfit(experience_id=held_out, code="exchange-too-long", text="no room"),
    ]
    cycle_run.start_cycle(db, cycle.id, worker_id="w", now=LATER)
    cycle_end.fail_cycle(
        db, cycle.id, worker_id="w", code="nothing-fits", message="So.", unfit=unfit, now=LATER
    )
    assert counts(db)["set_aside"] == 2
    found = get_experience(db, train)
    assert found.row.reason == "chat-template-refuses: it says: no"
    assert [use[0].role for use in found.uses] == ["set_aside"]
    told = cycles.list_events(db, cycle.id, after_seq=0, limit=50)[0]
    (aside,) = [event.facts for event in told if isinstance(event.facts, ExperiencesSetAside)]
    assert aside.experience_ids == (train, held_out)
    after = ask(db, now=LATER + timedelta(hours=1))
    assert not {train, held_out} & {*after.plan.experience_ids, *after.plan.held_out_ids}


def test_another_model_gets_what_the_one_before_could_not_hold(db: Database) -> None:
    before = counts(db)
    cycle = ask(db)
    unfit = [
        Unfit(experience_id=one, code="exchange-too-long", text="no room")
        for one in (cycle.plan.experience_ids[0], cycle.plan.held_out_ids[0])
    ]
    cycle_run.start_cycle(db, cycle.id, worker_id="w", now=LATER)
    cycle_end.fail_cycle(
        db, cycle.id, worker_id="w", code="nothing-fits", message="So.", unfit=unfit, now=LATER
    )
    put_instance(db, "default", {"timezone": "Europe/Lisbon"}, now=LATER)
    assert counts(db)["set_aside"] == 2
    put_instance(db, "default", {"recipe": {"max_length": 2048}}, now=LATER)
    assert counts(db) == before


def test_another_model_in_the_daemons_own_settings_gets_it_at_the_next_start(
    db: Database, reopen: Reopen
) -> None:
    before = counts(db)
    cycle = ask(db)
    aside = Unfit(
        experience_id=cycle.plan.experience_ids[0], code="exchange-too-long", text="no room"
    )
    cycle_run.start_cycle(db, cycle.id, worker_id="w", now=LATER)
    cycle_end.fail_cycle(
        db, cycle.id, worker_id="w", code="nothing-fits", message="So.", unfit=[aside], now=LATER
    )
    give_back_what_other_settings_hold(db)
    assert counts(db)["set_aside"] == 1
    other = reopen(base_model="/another/model")
    give_back_what_other_settings_hold(other)
    assert counts(other) == before


def test_order_holds_texts_and_roles_and_none_can_be_erased_meanwhile(db: Database) -> None:
    cycle = ask(db)
    held_out_id = cycle.plan.held_out_ids[0]
    with pytest.raises(ExperienceInUse):
        erase_experience(db, cycle.plan.experience_ids[0], now=LATER)
    with pytest.raises(ExperienceInUse):
        erase_experience(db, held_out_id, now=LATER)
    order = cycle_run.start_cycle(db, cycle.id, worker_id="w", now=LATER)
    assert [item.experience_id for item in order.train] == list(cycle.plan.experience_ids)
    assert all(item.role is CycleRole.TRAIN and item.response for item in order.train)
    assert held_out_id in [item.experience_id for item in order.held_out]
    uses = get_experience(db, held_out_id).uses
    assert [(use.role, used.id) for use, used, _ in uses] == [("held_out", cycle.id)]


def test_instances_do_not_share_experiences(db: Database) -> None:
    put_instance(db, "other", {}, now=NOW)
    fill(db, range(3), instance="other")
    mine = ask(db)
    theirs = ask(db, instance="other")
    assert set(mine.plan.experience_ids).isdisjoint(theirs.plan.experience_ids)
    assert len(theirs.plan.experience_ids) == 2


def test_failed_cycle_is_no_sleep_and_backs_off_by_itself(db: Database) -> None:
    ended = LATER
    for failures in (1, 2):
        cycle = ask(db, now=ended, is_forced=True)
        cycle_run.start_cycle(db, cycle.id, worker_id="w", now=ended)
        cycle_end.fail_cycle(
            db, cycle.id, worker_id="w", code="unexpected-error", message="So.", now=ended
        )
        wait = timedelta(minutes=10 * 2 ** (failures - 1))
        decision = decisions.get_decision(db, "default", now=ended + wait)
        unmet = [reason.rule for reason in decision.reasons if not reason.is_met]
        assert "interval" not in unmet
        assert "failures" not in unmet
        early = decisions.get_decision(db, "default", now=ended + wait - timedelta(seconds=1))
        assert [r.rule for r in early.reasons if not r.is_met and r.rule == "failures"]
        ended += wait


def test_cancelled_cycle_does_not_start_again_at_the_next_look(db: Database) -> None:
    cycle = ask(db, trigger=Trigger.SCHEDULE)
    sleep.cancel_cycle(db, cycle.id, now=LATER)
    assert decisions.list_due(db, slugs=None, now=LATER + timedelta(minutes=30)) == []
    assert decisions.list_due(db, slugs=None, now=LATER + timedelta(hours=1)) == ["default"]
