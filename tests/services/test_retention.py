"""What the policy lets go: texts of old experiences, replies of old reports, checkpoints' files."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from filelock import FileLock

from app.artifacts import leftovers
from app.db import checkpoints, sleep_cycles, statuses
from app.db.engine import Database
from app.db.tables import EventRow, ExperienceRow
from app.domain.decision import Trigger
from app.domain.exchange import Exchange
from app.domain.progress import Progress, Stage
from app.domain.salience import COMPONENTS
from app.domain.stored import to_json
from app.errors import ClockDoubted
from app.services import clock_trust, cycles, registry, retention, sleep
from app.services.file_guard import FileGuard
from app.services.ingest import Submission, ingest_many
from app.worker import upkeep
from tests.publishing import NOW, aliases, fill, publish, roll_back
from tests.support import Reopen, make_exchange

LATER = NOW + timedelta(days=31)


@pytest.fixture
def paths(tmp_path: Path) -> upkeep.DataPaths:
    return upkeep.DataPaths(
        checkpoints=tmp_path / "checkpoints",
        kept=tmp_path / "kept",
        snapshots=tmp_path / "snapshots",
        scratch=tmp_path / "scratch",
    )


@pytest.fixture
def monthly(reopen: Reopen) -> Database:
    """The same database under settings that keep texts for a month."""
    return reopen(policy={"retain_text_days": 30})


@pytest.fixture
def few(reopen: Reopen) -> Database:
    """The same database under settings that keep few checkpoints."""
    return reopen(policy={"retain_checkpoints": 1})


@pytest.fixture
def _later(monkeypatch: pytest.MonkeyPatch, db: Database) -> None:
    """A month later by a clock that a person has said is right."""
    monkeypatch.setattr(upkeep, "utc_now", lambda: LATER)
    clock_trust.confirm(db, now=LATER)


def prune(db: Database, paths: upkeep.DataPaths) -> list[retention.Prunable]:
    return upkeep.prune(db, instance=None, paths=paths, should_stop=lambda: False)


def statuses_with_text(db: Database) -> set[str]:
    with db.read() as session:
        return set(
            session.scalars(sa.select(ExperienceRow.status).where(ExperienceRow.prompt != ""))
        )


def events(db: Database, type_: str) -> list[dict[str, Any]]:
    with db.read() as session:
        return list(session.scalars(sa.select(EventRow.data).where(EventRow.type == type_)))


@pytest.mark.usefixtures("_later")
def test_texts_are_kept_by_default(db: Database, paths: upkeep.DataPaths) -> None:
    publish(db, paths.checkpoints, range(20))
    assert prune(db, paths) == []
    assert "consolidated" in statuses_with_text(db)


@pytest.mark.usefixtures("_later")
def test_old_texts_go_and_what_waits_or_measures_stays(
    db: Database, monthly: Database, paths: upkeep.DataPaths
) -> None:
    publish(db, paths.checkpoints, range(20))
    fill(db, range(20, 40))
    (found,) = retention.list_prunable(monthly, instance=None, now=LATER)
    assert found.texts > 10
    assert found.reports == 1
    (done,) = prune(monthly, paths)
    assert done == found
    assert statuses_with_text(db) == {"buffered", "held_out"}
    (event,) = events(db, "experience.expired")
    assert len(event["experience_ids"]) == found.texts
    page, _, _ = cycles.list_cycles(db, instance=None, status=None, cursor=None, limit=9)
    assert [row.metrics.replies for row in page.rows if row.metrics] == [()]
    assert prune(monthly, paths) == []
    assert events(db, "checkpoint.tainted") == []


def receive(db: Database, number: int, at: datetime) -> None:
    ingest_many(db, [Submission(exchange=Exchange(**make_exchange(number)))], now=at)


def test_nothing_goes_by_a_clock_that_jumped_ahead_also_when_exchanges_come_in_by_it(
    db: Database,
    monthly: Database,
    paths: upkeep.DataPaths,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    publish(db, paths.checkpoints, range(20))
    guard = FileGuard(db, root=paths.checkpoints)
    clock = [NOW]
    monkeypatch.setattr(upkeep, "utc_now", lambda: clock[0])
    monkeypatch.setattr(upkeep, "_wall_offset", lambda: 0.0)  # no process saw it jump
    daily = upkeep.Upkeep(monthly, guard=guard, paths=paths)
    daily.run()
    before = statuses_with_text(db)
    clock[0] = jumped = NOW + timedelta(days=400)
    with pytest.raises(ClockDoubted, match="400 d after the newest exchange"):
        prune(monthly, paths)
    for hours in (0, 1, 24, 144):
        clock[0] = jumped + timedelta(hours=hours)
        receive(db, 900 + hours, clock[0])
        daily.run()
        assert "consolidated" in statuses_with_text(db), hours
    assert events(db, "experience.expired") == []
    assert "upkeep.clock_doubted" in capsys.readouterr().out
    assert "runs on" in str(clock_trust.find_doubt(db, now=clock[0]))
    assert before <= statuses_with_text(db)
    clock[0] = jumped + timedelta(hours=169)
    daily.run()
    assert "consolidated" not in statuses_with_text(db)


def test_what_came_in_under_a_clock_that_lagged_is_no_older_than_what_came_before(
    db: Database, monthly: Database
) -> None:
    receive(db, 1, NOW)
    lagging = NOW - timedelta(days=20_000)
    receive(db, 2, lagging)
    with db.write() as session:
        session.execute(sa.update(ExperienceRow).values(status="consolidated"))
    (found,) = retention.list_prunable(monthly, instance=None, now=NOW + timedelta(days=1))
    assert found.texts == 0
    (found,) = retention.list_prunable(monthly, instance=None, now=LATER)
    assert found.texts == 2


@pytest.mark.usefixtures("_later")
def test_text_that_a_cycle_set_aside_stays_and_one_of_too_little_salience_goes(
    db: Database, monthly: Database, paths: upkeep.DataPaths
) -> None:
    fill(db, range(20))
    dull = Exchange(**make_exchange(20, salience=dict.fromkeys(COMPONENTS, 0.1)))
    ingest_many(db, [Submission(exchange=dull)], now=NOW)
    with db.write() as session:
        buffered = session.scalars(
            sa.select(ExperienceRow.id).where(ExperienceRow.status == "buffered")
        ).all()
        statuses.leave_out(session, buffered, reason="cycle 1 left it out")
    prune(monthly, paths)
    with db.read() as session:
        rows = session.execute(sa.select(ExperienceRow.status, ExperienceRow.prompt)).all()
    by_status = {
        status: {bool(row.prompt) for row in rows if row.status == status}
        for status in ("below_threshold", "erased")
    }
    assert by_status == {"below_threshold": {True}, "erased": {False}}
    assert sum(row.status == "erased" for row in rows) == 1


@pytest.mark.usefixtures("_later")
def test_text_that_an_active_cycle_uses_stays(
    db: Database, monthly: Database, paths: upkeep.DataPaths
) -> None:
    publish(db, paths.checkpoints, range(20))
    fill(db, range(20, 40))
    request = sleep.CycleRequest(
        instance="default",
        trigger=Trigger.REQUEST,
        is_forced=True,
        recipe={"rehearsal_share": 1.0},
    )
    cycle = sleep.request_cycle(db, request, now=NOW)
    rehearsed = cycle.plan.rehearsal_ids
    assert rehearsed
    prune(monthly, paths)
    with db.read() as session:
        texts = session.scalars(
            sa.select(ExperienceRow.prompt).where(ExperienceRow.id.in_(rehearsed))
        ).all()
    assert all(texts)


@pytest.mark.usefixtures("_later")
def test_checkpoints_beyond_the_policy_lose_their_files_and_keep_their_rows(
    db: Database, few: Database, paths: upkeep.DataPaths
) -> None:
    root = paths.checkpoints
    ids = [publish(db, root, range(n, n + 20), after=2.5)[0] for n in range(0, 120, 20)]
    registry.annotate_checkpoint(db, ids[1], {"is_pinned": True})
    (found,) = retention.list_prunable(few, instance=None, now=NOW)
    wanted = [item.id for item in found.checkpoints]
    assert found.size_bytes > 0
    # Kept: the best is the first of equals, the pinned and its parent, current, previous, parents.
    assert wanted == [ids[2]]
    names = {item: registry.get_checkpoint(db, item).row.name for item in ids}
    prune(few, paths)
    assert [item for item in ids if not (root / names[item]).exists()] == wanted
    assert registry.get_checkpoint(db, ids[2]).row.status == "deleted"
    assert events(db, "checkpoint.deleted") == [{"actor": "retention"}]
    assert aliases(db) == {"current": ids[5], "previous": ids[4]}


@pytest.mark.usefixtures("_later")
def test_parent_that_a_queued_cycle_needs_stays(
    db: Database, few: Database, paths: upkeep.DataPaths
) -> None:
    root = paths.checkpoints
    ids = [publish(db, root, range(n, n + 20))[0] for n in range(0, 60, 20)]
    roll_back(db, root)
    roll_back(db, root)
    fill(db, range(60, 80))
    request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
    cycle = sleep.request_cycle(db, request, now=NOW)
    assert cycle.plan.parent_checkpoint_id == ids[0]
    roll_back(db, root)
    assert aliases(db) == {}
    prune(few, paths)
    assert registry.get_checkpoint(db, ids[0]).row.status == "ready"


@pytest.mark.usefixtures("_later")
def test_nothing_is_deleted_under_an_experiment(
    db: Database, few: Database, paths: upkeep.DataPaths
) -> None:
    for n in range(0, 120, 20):
        publish(db, paths.checkpoints, range(n, n + 20))
    paths.scratch.mkdir()
    with FileLock(paths.scratch / leftovers.EXPERIMENT_LOCK):
        prune(few, paths)
        assert events(db, "checkpoint.deleted") == []
    prune(few, paths)
    assert events(db, "checkpoint.deleted") != []


def test_instance_may_have_its_own_policy(db: Database, paths: upkeep.DataPaths) -> None:
    from app.services import instances

    for n in range(0, 120, 20):
        publish(db, paths.checkpoints, range(n, n + 20))
    instances.put_instance(db, "default", {"policy": {"retain_checkpoints": 1}}, now=NOW)
    assert prune(db, paths) != []


def publish_cycle(db: Database, root: Path) -> str:
    """Publish a checkpoint; returns its cycle's id."""
    checkpoint_id = publish(db, root, range(20))[0]
    with db.read() as session:
        return checkpoints.get_checkpoint(session, checkpoint_id).cycle_id


def add_progress(db: Database, cycle_id: str, count: int) -> list[int]:
    """Progress events of a cycle as a long training leaves them; returns their numbers."""
    with db.write() as session:
        cycle = sleep_cycles.get_cycle(session, cycle_id)
        rows = [
            EventRow(
                type="sleep_cycle.progress",
                instance_id=cycle.instance_id,
                cycle_id=cycle_id,
                data=to_json(Progress(stage=Stage.TRAINING, step=step, total_steps=count)),
                at=NOW,
            )
            for step in range(count)
        ]
        session.add_all(rows)
        session.flush()
        return [row.seq for row in rows]


def test_progress_of_ended_cycles_goes_after_a_day_and_no_other_event_does(
    db: Database,
    paths: upkeep.DataPaths,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = publish_cycle(db, paths.checkpoints)
    numbers = add_progress(db, ended, 2500)
    fill(db, range(20, 40))
    request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
    active = sleep.request_cycle(db, request, now=NOW).id
    kept = add_progress(db, active, 7)
    others = [row.seq for row in listed(db, ended) if row.seq not in numbers]
    assert len(others) > 2
    monkeypatch.setattr(upkeep, "utc_now", lambda: NOW + timedelta(hours=20))
    assert all(item.is_empty for item in prune(db, paths))
    monkeypatch.setattr(upkeep, "utc_now", lambda: NOW + timedelta(hours=30))
    (pruned,) = prune(db, paths)
    assert pruned.progress_events == 2500
    assert [row.seq for row in listed(db, ended)] == others
    assert [row.seq for row in listed(db, active)][-7:] == kept
    (after,) = add_progress(db, active, 1)
    assert after > max(kept)


def listed(db: Database, cycle_id: str) -> list[EventRow]:
    return cycles.list_events(db, cycle_id, after_seq=0, limit=10_000)[0]


def test_number_of_the_newest_event_is_not_given_again(
    db: Database, paths: upkeep.DataPaths
) -> None:
    ended = publish_cycle(db, paths.checkpoints)
    newest = add_progress(db, ended, 3)[-1]
    while retention.remove_old_progress(db, "default", now=LATER):
        pass
    assert max(row.seq for row in listed(db, ended)) < newest
    assert add_progress(db, ended, 1) == [newest + 1]
