"""Starting again from the base: on request, and every so many cycles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from app.db import experiences, lineage, trainable
from app.db.engine import Database
from app.db.tables import SleepCycleRow
from app.domain.decision import Trigger
from app.domain.progress import CycleStatus
from app.errors import IdempotencyKeyReused, NothingToRebuildFrom, SleepCycleActive
from app.services import cycle_end, cycle_run, cycles, registry, sleep
from app.services.erasure import erase_experience
from app.services.sleep import request_rebuild
from tests.publishing import NOW, aliases, current, end, fill, publish, report, roll_back
from tests.support import Reopen


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def rebuild(db: Database, key: str | None = None) -> SleepCycleRow:
    return request_rebuild(
        db,
        "default",
        actor="dennis",
        reason="erased",
        idempotency_key=key,
        now=NOW,
    )


def statuses(db: Database, ids: Sequence[str]) -> set[str]:
    with db.read() as session:
        return {row.status for row in experiences.list_by_ids(session, ids)}


def next_cycle(db: Database, numbers: range) -> SleepCycleRow:
    fill(db, numbers)
    request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
    return sleep.request_cycle(db, request, now=NOW)


def test_rebuild_trains_from_the_base_on_what_is_still_there_and_goes_live(
    db: Database, root: Path
) -> None:
    first, _ = publish(db, root, range(20))
    second, _ = publish(db, root, range(20, 40))
    learned = [
        use.experience_id
        for checkpoint_id in (first, second)
        for use in registry.list_provenance(db, checkpoint_id)
        if use.role == "train"
    ]
    erased = learned.pop()
    erase_experience(db, erased, now=NOW)
    cycle = rebuild(db)
    assert cycle.trigger == "rebuild"
    assert cycle.plan.parent_checkpoint_id is None
    assert sorted(cycle.plan.experience_ids) == sorted(learned)
    assert cycle.plan.held_out_ids
    third, status = end(db, root, cycle, report(2.0))
    assert status is CycleStatus.SUCCEEDED
    assert aliases(db) == {"current": third, "previous": second}
    row = registry.get_checkpoint(db, third).row
    assert (row.parent_id, row.tainted_at) == (None, None)
    assert statuses(db, learned) == {"consolidated"}


@pytest.mark.parametrize("ends_as", ["rejected", "failed", "cancelled"])
def test_rebuild_that_comes_to_nothing_leaves_everything_as_it_was(
    db: Database, root: Path, ends_as: str
) -> None:
    first, _ = publish(db, root, range(20))
    cycle = rebuild(db)
    if ends_as == "rejected":
        end(db, root, cycle, report(3.5))
    elif ends_as == "cancelled":
        sleep.cancel_cycle(db, cycle.id, now=NOW)
    else:
        cycle_run.start_cycle(db, cycle.id, worker_id="w", now=NOW)
        cycle_end.fail_cycle(
            db,
            cycle.id,
            worker_id="w",
            code="non-finite-loss",
            message="x",
            now=NOW,
        )
    assert cycles.get_cycle(db, cycle.id)[0].status == ends_as
    assert current(db) == first
    assert statuses(db, cycle.plan.experience_ids) == {"consolidated"}
    with db.read() as session:
        rows = experiences.list_by_ids(session, cycle.plan.experience_ids)
    assert {row.attempts for row in rows} == {0}


def test_rebuild_is_bounded_by_the_policy_and_takes_the_most_salient(
    db: Database, reopen: Reopen, root: Path
) -> None:
    publish(db, root, range(20))
    cycle = rebuild(reopen(policy={"max_experiences": 5}))
    with db.read() as session:
        best = trainable.list_rehearsal_pool(session, cycle.instance_id, 5)
    chosen = {*cycle.plan.experience_ids, *cycle.plan.held_out_ids}
    assert chosen >= {item.id for item in best}
    assert len(cycle.plan.experience_ids) <= 5


def test_nothing_to_rebuild_from_says_so(db: Database) -> None:
    fill(db, range(20))
    with pytest.raises(NothingToRebuildFrom, match="0 to train"):
        rebuild(db)


def test_rebuild_waits_for_an_active_cycle_and_its_key_starts_one(db: Database, root: Path) -> None:
    publish(db, root, range(20))
    cycle = rebuild(db, key="k")
    assert rebuild(db, key="k").id == cycle.id
    with pytest.raises(SleepCycleActive):
        rebuild(db)
    request = sleep.CycleRequest(
        instance="default", trigger=Trigger.REQUEST, is_forced=True, idempotency_key="k"
    )
    with pytest.raises(IdempotencyKeyReused):
        sleep.request_cycle(db, request, now=NOW)


def test_person_who_moved_current_during_a_rebuild_is_not_overruled(
    db: Database, root: Path
) -> None:
    publish(db, root, range(20))
    cycle = rebuild(db)
    roll_back(db, root)
    made, _ = end(db, root, cycle, report(2.0))
    assert aliases(db) == {"candidate": made}


def test_every_few_cycles_one_starts_from_the_base_over_the_whole_store(
    reopen: Reopen, root: Path
) -> None:
    db = reopen(policy={"rebuild_every_cycles": 2}, recipe={"rehearsal_share": 0.0})
    parents: list[str | None] = []
    made: list[str] = []
    learned: list[str] = []
    for n in range(0, 140, 20):
        cycle = next_cycle(db, range(n, n + 20))
        parents.append(cycle.plan.parent_checkpoint_id)
        rehearsed = cycle.plan.rehearsal_ids
        assert sorted(rehearsed) == (sorted(learned) if n in {60, 120} else [])
        checkpoint_id, _ = end(db, root, cycle, report(2.0))
        assert current(db) == checkpoint_id
        made.append(checkpoint_id)
        learned += cycle.plan.experience_ids
        assert statuses(db, cycle.plan.experience_ids) == {"consolidated"}
    assert parents == [None, made[0], made[1], None, made[3], made[4], None]
    with db.read() as session:
        assert [lineage.count_stacked_updates(session, item) for item in made] == [
            0, 1, 2, 0, 1, 2, 0,
        ]  # fmt: skip


def test_refused_new_start_waits_as_long_again_and_holds_up_nothing(
    reopen: Reopen, root: Path
) -> None:
    db = reopen(policy={"rebuild_every_cycles": 2})
    for n in (0, 20, 40):
        third, _ = publish(db, root, range(n, n + 20))
    refused = next_cycle(db, range(60, 80))
    assert refused.plan.parent_checkpoint_id is None
    end(db, root, refused, report(3.5))
    assert current(db) == third
    assert statuses(db, refused.plan.rehearsal_ids) == {"consolidated"}
    fourth, _ = publish(db, root, range(80, 100))
    fifth, _ = publish(db, root, range(100, 120))
    with db.read() as session:
        assert lineage.count_stacked_updates(session, fifth) == 4
    assert (current(db), aliases(db)["previous"]) == (fifth, fourth)
    assert next_cycle(db, range(120, 140)).plan.parent_checkpoint_id is None


def test_only_a_new_start_by_itself_is_compared_with_what_it_replaces(
    reopen: Reopen, root: Path
) -> None:
    db = reopen(policy={"rebuild_every_cycles": 1})
    first, _ = publish(db, root, range(20))

    def replaced(cycle: SleepCycleRow) -> str | None:
        order = cycle_run.start_cycle(db, cycle.id, worker_id="w", now=NOW)
        cycle_end.stop_cycle(db, cycle.id, worker_id="w", now=NOW)
        sleep.cancel_cycle(db, cycle.id, now=NOW)
        return order.replaced.id if order.replaced else None

    assert replaced(next_cycle(db, range(20, 40))) is None
    second, _ = publish(db, root, range(40, 60))
    assert registry.get_checkpoint(db, second).row.parent_id == first
    assert replaced(rebuild(db)) is None
    assert replaced(next_cycle(db, range(60, 80))) == second
