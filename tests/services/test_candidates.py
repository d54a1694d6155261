"""Policy `manual`: an accepted checkpoint waits as the candidate until a person decides."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from app.db import experiences
from app.db.engine import Database
from app.db.events import EventFilter
from app.domain.decision import Trigger
from app.domain.policy import Promotion
from app.domain.progress import CycleStatus
from app.errors import CheckpointInUse, CheckpointNotPromotable, NoCandidate
from app.services import decisions, instances, promotion, registry, sleep
from app.services.file_guard import FileGuard
from app.services.instances import put_instance
from app.services.sleep import request_rebuild
from tests.publishing import NOW, aliases, current, end, fill, publish, report, roll_back
from tests.support import Reopen


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


@pytest.fixture
def manual(reopen: Reopen) -> Database:
    """The same database under settings by which a person promotes."""
    return reopen(policy={"promotion": Promotion.MANUAL})


def promote(db: Database, root: Path, checkpoint_id: str, reason: str | None = None) -> None:
    promotion.promote(
        db,
        checkpoint_id,
        guard=FileGuard(db, root=root),
        is_forced=reason is not None,
        actor="dennis",
        reason=reason,
        expected_revisions=None,
        now=NOW,
    )


def dismiss(db: Database) -> None:
    promotion.dismiss_candidate(
        db,
        "default",
        actor="dennis",
        reason="it lisps",
        expected_revisions=None,
        now=NOW,
    )


def trained_by(db: Database, checkpoint_id: str) -> list[str]:
    return [
        use.experience_id
        for use in registry.list_provenance(db, checkpoint_id)
        if use.role == "train"
    ]


def statuses(db: Database, ids: list[str]) -> set[tuple[str, int]]:
    with db.read() as session:
        return {(row.status, row.attempts) for row in experiences.list_by_ids(session, ids)}


def plan_next(db: Database) -> sleep.CyclePreview:
    request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
    return sleep.preview_cycle(db, request, now=NOW + timedelta(days=1))


def test_accepted_checkpoint_becomes_candidate_and_current_stays(
    db: Database, manual: Database, root: Path
) -> None:
    live, _ = publish(db, root, range(20))
    candidate, status = publish(manual, root, range(20, 40))
    assert status is CycleStatus.SUCCEEDED
    assert aliases(db) == {"current": live, "candidate": candidate}
    told = instances.list_events(
        db, "default", EventFilter(subject="checkpoint"), after_seq=0, limit=100
    )
    assert [event.type for event in told] == ["checkpoint.promoted", "checkpoint.proposed"]


def test_person_promotes_the_candidate_and_the_alias_is_cleared(
    db: Database, manual: Database, root: Path
) -> None:
    live, _ = publish(db, root, range(20))
    candidate, _ = publish(manual, root, range(20, 40))
    promote(db, root, candidate)
    assert aliases(db) == {"current": candidate, "previous": live}
    assert statuses(db, trained_by(db, candidate)) == {("consolidated", 0)}


def test_what_another_cycle_learned_again_is_promoted_only_by_force(
    db: Database, manual: Database, root: Path
) -> None:
    dismissed, _ = publish(manual, root, range(20))
    dismiss(manual)
    superseded, _ = publish(manual, root, range(20))
    untouched, _ = publish(manual, root, range(20, 40))
    latest, _ = publish(manual, root, range(40, 60))
    assert set(trained_by(db, superseded)) < set(trained_by(db, latest))
    for former in (dismissed, superseded):
        with pytest.raises(CheckpointNotPromotable, match="learn them twice"):
            promote(db, root, former)
    promote(db, root, untouched)
    promote(db, root, superseded, "the latest lisps")
    assert aliases(db) == {"current": superseded, "previous": untouched, "candidate": latest}


def test_former_candidate_replaces_only_what_it_was_made_to(
    db: Database, manual: Database, root: Path
) -> None:
    """It has not learned what went live meanwhile; what was live once may come back."""
    former, _ = publish(manual, root, range(20))
    second, _ = publish(manual, root, range(20, 40))
    third, _ = publish(manual, root, range(40, 60))
    assert set(trained_by(db, former)) < set(trained_by(db, third))
    promote(db, root, second)
    with pytest.raises(CheckpointNotPromotable, match="was made to replace the base"):
        promote(db, root, third)
    dismiss(manual)
    with pytest.raises(CheckpointNotPromotable, match="was made to replace the base"):
        promote(db, root, former)
    promote(db, root, former, "the second lisps")
    promote(db, root, second)
    assert aliases(db) == {"current": second, "previous": former}


def test_refused_checkpoint_is_no_candidate(db: Database, manual: Database, root: Path) -> None:
    _, status = publish(manual, root, range(20), after=3.5)
    assert status is CycleStatus.REJECTED
    assert aliases(db) == {}


def test_next_cycle_starts_from_what_was_promoted_never_from_the_candidate(
    db: Database, manual: Database, root: Path
) -> None:
    first, _ = publish(manual, root, range(20))
    fill(manual, range(20, 40))
    assert plan_next(manual).plan.parent_checkpoint_id is None
    promote(db, root, first)
    assert plan_next(manual).plan.parent_checkpoint_id == first


def test_no_cycle_starts_by_itself_while_a_candidate_waits(
    db: Database, manual: Database, root: Path
) -> None:
    first, _ = publish(manual, root, range(20))
    fill(manual, range(20, 80))
    tomorrow = NOW + timedelta(days=1)
    decision = decisions.get_decision(manual, "default", now=tomorrow)
    assert [reason.rule for reason in decision.reasons if not reason.is_met] == ["candidate"]
    assert decisions.list_due(manual, slugs=None, now=tomorrow) == []
    assert plan_next(manual).refusal is None
    assert decisions.get_decision(db, "default", now=tomorrow).is_due
    promote(db, root, first)
    assert decisions.list_due(manual, slugs=None, now=tomorrow) == ["default"]


def test_candidate_is_not_promoted_over_a_current_it_was_not_made_to_replace(
    db: Database, manual: Database, root: Path
) -> None:
    live, _ = publish(db, root, range(20))
    candidate, _ = publish(manual, root, range(20, 40))
    roll_back(db, root)
    with pytest.raises(CheckpointNotPromotable, match="current is the base now"):
        promote(db, root, candidate)
    assert aliases(db) == {"candidate": candidate}
    promote(db, root, live)
    promote(db, root, candidate)
    assert aliases(db) == {"current": candidate, "previous": live}


def test_candidate_over_another_current_takes_force_and_a_reason(
    db: Database, manual: Database, root: Path
) -> None:
    publish(db, root, range(20))
    candidate, _ = publish(manual, root, range(20, 40))
    roll_back(db, root)
    promote(db, root, candidate, reason="the older one was worse")
    assert aliases(db) == {"current": candidate}


def test_newer_candidate_gives_back_what_the_older_one_learned(
    db: Database, manual: Database, root: Path
) -> None:
    first, _ = publish(manual, root, range(20))
    assert statuses(db, trained_by(db, first)) == {("consolidated", 0)}
    second, _ = publish(manual, root, range(20, 40))
    assert aliases(db) == {"candidate": second}
    assert statuses(db, trained_by(db, first)) == {("buffered", 0)}
    promote(db, root, first)
    assert statuses(db, trained_by(db, first)) == {("consolidated", 0)}
    assert aliases(db) == {"current": first, "candidate": second}


def test_dismissed_candidate_counts_an_attempt_and_the_third_quarantines(
    db: Database, manual: Database, root: Path
) -> None:
    with pytest.raises(NoCandidate):
        dismiss(manual)
    for attempt in (1, 2, 3):
        candidate, _ = publish(manual, root, range(20))
        with pytest.raises(CheckpointInUse, match="dismiss it first"):
            registry.delete_checkpoint(db, candidate, root=root, now=NOW)
        dismiss(manual)
        assert aliases(db) == {}
        expected = "buffered" if attempt < 3 else "quarantined"
        assert statuses(db, trained_by(db, candidate)) == {(expected, attempt)}
    registry.delete_checkpoint(db, candidate, root=root, now=NOW)


def test_dismissed_rebuild_leaves_everything_consolidated(
    db: Database, manual: Database, root: Path
) -> None:
    live, _ = publish(db, root, range(20))
    cycle = request_rebuild(
        manual, "default", actor="x", reason=None, idempotency_key=None, now=NOW
    )
    made, _ = end(manual, root, cycle, report(2.0))
    assert aliases(db) == {"current": live, "candidate": made}
    dismiss(manual)
    assert statuses(db, trained_by(db, made)) == {("consolidated", 0)}


def test_policy_of_one_instance_is_stored_as_json_has_it(db: Database, root: Path) -> None:
    put_instance(db, "default", {"policy": {"promotion": "manual"}}, now=NOW)
    candidate, _ = publish(db, root, range(20))
    assert (current(db), aliases(db)) == (None, {"candidate": candidate})
