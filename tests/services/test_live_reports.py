"""Live reports on a real database: counted, idempotent, and one too many rolls back."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from app.db.engine import Database
from app.db.events import EventFilter
from app.db.tables import EventRow
from app.domain.decision import Trigger
from app.domain.progress import CycleStatus
from app.errors import CheckpointNotPromotable, IdempotencyKeyReused, ReportIdConflict
from app.services import cycle_run, cycles, instances, live_reports, promotion, registry, sleep
from app.services.erasure import erase_experience
from app.services.file_guard import FileGuard
from app.services.instances import put_instance
from app.services.sleep import request_rebuild
from tests.publishing import NOW, aliases, current, end, fill, publish, report, roll_back


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def tell(
    db: Database,
    checkpoint_id: str,
    *,
    ratio: float = 0.9,
    key: str | None = None,
    report_id: str | None = None,
    session: str = "s-1",
    token_id: str | None = None,
) -> tuple[live_reports.ReportView, bool]:
    submission = live_reports.ReportSubmission(
        checkpoint_id=checkpoint_id, session=session, repetition_ratio=ratio, report_id=report_id
    )
    return live_reports.record_report(
        db, submission, idempotency_key=key, token_id=token_id, now=NOW
    )


def tell_often(db: Database, checkpoint_id: str, times: int, first: int = 1) -> None:
    """A bad report of each of so many sessions."""
    for number in range(first, first + times):
        tell(db, checkpoint_id, session=f"s-{number}")


def events_of(db: Database, subject: str) -> list[EventRow]:
    return list(
        instances.list_events(db, "default", EventFilter(subject=subject), after_seq=0, limit=100)
    )


def promote(db: Database, root: Path, checkpoint_id: str, *, force: bool = False) -> None:
    promotion.promote(
        db,
        checkpoint_id,
        guard=FileGuard(db, root=root),
        is_forced=force,
        actor="dennis",
        reason="it was the microphone" if force else None,
        expected_revisions=None,
        now=NOW,
    )


def test_one_bad_report_too_many_rolls_back_with_its_numbers(db: Database, root: Path) -> None:
    first, _ = publish(db, root, range(20))
    second, _ = publish(db, root, range(20, 40))
    tell_often(db, second, 2)
    assert current(db) == second
    view, _ = tell(db, second, session="s-3", token_id="T" * 26)
    assert view.row.has_rolled_back
    assert current(db) == first
    assert registry.get_checkpoint(db, second).row.regressed_at == NOW
    move = promotion.list_alias_history(db, "default", before_seq=None, limit=9)
    moved = next(row for row in move if row.alias == "current")
    assert (moved.action, moved.actor) == ("rollback", "live-regression")
    assert "the reports of 3 of the newest 3 sessions bad" in (moved.reason or "")
    assert f'by the sessions "s-3", "s-2", "s-1", token {"T" * 26}' in (moved.reason or "")
    types = [event.type for event in events_of(db, "checkpoint")]
    assert types[-2:] == ["checkpoint.regressed", "checkpoint.rolled_back"]
    data = events_of(db, "checkpoint")[-2].data
    assert data["bad_reports"] == 3
    assert (data["sessions"], data["token_ids"]) == (["s-3", "s-2", "s-1"], ["T" * 26])


def test_reports_on_what_is_not_current_are_kept_and_do_nothing(db: Database, root: Path) -> None:
    first, _ = publish(db, root, range(20))
    second, _ = publish(db, root, range(20, 40))
    tell_often(db, first, 6)
    assert current(db) == second
    views, _ = live_reports.list_reports(db, first, cursor=None, limit=10)
    assert [view.row.move_seq for view in views] == [None] * 6


def test_session_has_one_voice_and_may_change_its_mind(db: Database, root: Path) -> None:
    only, _ = publish(db, root, range(20))
    for _ in range(12):
        tell(db, only)
    tell(db, only, session="s-2")
    tell(db, only, session="s-2", ratio=0.1)
    tell(db, only, session="s-3")
    assert current(db) == only
    tell(db, only, session="s-2")
    assert current(db) is None


def test_reports_step_back_once_per_promotion(db: Database, root: Path) -> None:
    first, _ = publish(db, root, range(20))
    second, _ = publish(db, root, range(20, 40))
    tell_often(db, second, 3)
    assert current(db) == first
    tell_often(db, first, 8)
    assert current(db) == first
    third, _ = publish(db, root, range(40, 60))
    tell_often(db, third, 3)
    assert current(db) == first
    roll_back(db, root)
    assert current(db) is None


def test_taken_back_checkpoint_returns_only_by_force_and_starts_from_no_report(
    db: Database, root: Path
) -> None:
    first, _ = publish(db, root, range(20))
    second, _ = publish(db, root, range(20, 40))
    tell_often(db, second, 3)
    with pytest.raises(CheckpointNotPromotable, match="Session reports took"):
        promote(db, root, second)
    promote(db, root, second, force=True)
    assert registry.get_checkpoint(db, second).row.regressed_at is None
    tell_often(db, second, 2)
    assert current(db) == second
    tell(db, second, session="s-3")
    assert current(db) == first


def test_no_rollback_leads_to_a_checkpoint_that_was_taken_back(db: Database, root: Path) -> None:
    first, _ = publish(db, root, range(20))
    second, _ = publish(db, root, range(20, 40))
    promote(db, root, first)
    promote(db, root, second)
    tell_often(db, second, 3)
    assert current(db) == first
    assert "previous" not in aliases(db)
    roll_back(db, root)
    assert current(db) is None


def test_cycle_that_goes_on_from_a_taken_back_checkpoint_is_cancelled(
    db: Database, root: Path
) -> None:
    first, _ = publish(db, root, range(20))
    fill(db, range(20, 40))
    request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
    queued = sleep.request_cycle(db, request, now=NOW)
    tell_often(db, first, 3)
    cycle, _, _ = cycles.get_cycle(db, queued.id)
    assert cycle.status == CycleStatus.CANCELLED
    again = sleep.request_cycle(db, request, now=NOW)
    assert again.plan.parent_checkpoint_id is None
    assert again.plan.experience_ids == queued.plan.experience_ids


def test_running_cycle_from_a_taken_back_checkpoint_is_asked_to_stop_and_never_goes_live(
    db: Database, root: Path
) -> None:
    first, _ = publish(db, root, range(20))
    fill(db, range(20, 40))
    request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
    cycle = sleep.request_cycle(db, request, now=NOW)
    cycle_run.start_cycle(db, cycle.id, worker_id="early", now=NOW)
    tell_often(db, first, 3)
    assert cycle_run.read_signs(db, cycle.id).is_stop_requested
    assert current(db) is None


def test_sent_again_it_is_kept_once_by_key_and_by_its_own_id(db: Database, root: Path) -> None:
    only, _ = publish(db, root, range(20))
    ways: tuple[tuple[str | None, str | None], ...] = (("k", None), (None, "r"))
    for key, name in ways:
        first, is_new = tell(db, only, key=key, report_id=name)
        second, is_known = tell(db, only, key=key, report_id=name)
        assert (is_new, is_known) == (True, False)
        assert first.row.id == second.row.id
    with pytest.raises(IdempotencyKeyReused):
        tell(db, only, ratio=0.1, key="k")
    with pytest.raises(ReportIdConflict):
        tell(db, only, ratio=0.1, report_id="r")
    views, _ = live_reports.list_reports(db, only, cursor=None, limit=10)
    assert len(views) == 2


def test_policy_of_the_instance_decides(db: Database, root: Path) -> None:
    only, _ = publish(db, root, range(20))
    off = {"policy": {"regression_reports": 0}}
    put_instance(db, "default", off, now=NOW)
    tell_often(db, only, 5)
    assert current(db) == only
    mild = {"policy": {"regression_reports": 1, "max_repetition_ratio": 0.95}}
    put_instance(db, "default", mild, now=NOW)
    view, _ = tell(db, only)
    assert (view.faults, current(db)) == ((), only)
    tell(db, only, ratio=0.96)
    assert current(db) is None


def test_many_sessions_at_once_roll_back_one_promotion_only(db: Database, root: Path) -> None:
    first, _ = publish(db, root, range(20))
    second, _ = publish(db, root, range(20, 40))
    threads = [threading.Thread(target=tell_often, args=(db, second, 3)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert current(db) == first
    assert len([e for e in events_of(db, "checkpoint") if e.type.endswith("rolled_back")]) == 1
    views, _ = live_reports.list_reports(db, second, cursor=None, limit=50)
    assert len(views) == 12
    assert sum(view.row.has_rolled_back for view in views) == 1


def test_no_automatic_rollback_brings_erased_text_back(db: Database, root: Path) -> None:
    first, _ = publish(db, root, range(20))
    second, _ = publish(db, root, range(20, 40))
    trained = registry.list_provenance(db, first)[0].experience_id
    erase_experience(db, trained, now=NOW)
    rebuilt = request_rebuild(
        db,
        "default",
        actor="dennis",
        reason=None,
        idempotency_key=None,
        now=NOW,
    )
    third, _ = end(db, root, rebuilt, report(2.0))
    assert current(db) == third
    tell_often(db, third, 3)
    assert current(db) is None
    promote(db, root, first)
    promote(db, root, second)
    tell_often(db, second, 3)
    assert current(db) == first
