"""Erasing an experience: who learned from it, and what is left of its words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.db import lineage
from app.db.engine import Database
from app.domain.decision import Trigger
from app.domain.experience import CycleRole
from app.domain.provenance import LineageUse
from app.domain.report import ProbeReply
from app.domain.stored import to_json
from app.domain.verbatim import REMOVED
from app.services import cycles, registry, sleep
from app.services.erasure import erase_experience
from app.services.experiences import get_experience
from tests.publishing import NOW, end, fill, publish, report


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def trained_by(db: Database, checkpoint_id: str, role: CycleRole = CycleRole.TRAIN) -> list[str]:
    uses = registry.list_uses(
        db, checkpoint_id, with_ancestors=False, role=role, after=None, limit=500
    )
    return [use.experience_id for use in uses]


def tainted(db: Database, *checkpoint_ids: str) -> list[bool]:
    views = [registry.get_checkpoint(db, checkpoint_id) for checkpoint_id in checkpoint_ids]
    return [view.row.tainted_at is not None for view in views]


def test_checkpoints_that_trained_on_it_and_their_descendants_are_marked(
    db: Database, root: Path
) -> None:
    first, second, third = (publish(db, root, range(n, n + 20))[0] for n in (0, 20, 40))
    done = erase_experience(db, trained_by(db, second)[0], now=NOW)
    assert done.row.status == "erased"
    assert [checkpoint.id for checkpoint in done.checkpoints] == [second, third]
    assert tainted(db, first, second, third) == [False, True, True]
    again = erase_experience(db, done.row.id, now=NOW)
    assert [checkpoint.id for checkpoint in again.checkpoints] == [second, third]


def test_measuring_with_it_is_not_learning_from_it(db: Database, root: Path) -> None:
    only, _ = publish(db, root, range(20))
    done = erase_experience(db, trained_by(db, only, CycleRole.HELD_OUT)[0], now=NOW)
    assert list(done.checkpoints) == []
    assert tainted(db, only) == [False]


def test_cycle_that_ran_meanwhile_inherits_the_mark(db: Database, root: Path) -> None:
    first, _ = publish(db, root, range(20))
    fill(db, range(20, 40))
    request = sleep.CycleRequest(
        instance="default",
        trigger=Trigger.REQUEST,
        is_forced=True,
        recipe={"rehearsal_share": 0.0},  # what it rehearses could not be erased meanwhile
    )
    cycle = sleep.request_cycle(db, request, now=NOW)
    erase_experience(db, trained_by(db, first)[0], now=NOW)
    second, _ = end(db, root, cycle, report(2.0))
    assert tainted(db, first, second) == [True, True]


def test_reply_that_repeats_it_goes_and_any_other_stays(db: Database, root: Path) -> None:
    fill(db, range(20))
    request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
    cycle = sleep.request_cycle(db, request, now=NOW)
    learned = cycle.plan.experience_ids[0]
    words = get_experience(db, learned).row.response
    only, _ = end(db, root, cycle, report(2.0, reply=f"I said: {words}"))
    erase_experience(db, learned, now=NOW)
    stored, _, _ = cycles.get_cycle(db, cycle.id)
    checkpoint = registry.get_checkpoint(db, only).row
    for metrics in (stored.metrics, checkpoint.metrics):
        assert metrics is not None
        assert metrics.replies == (
            ProbeReply(prompt="Who are you?", before="A model.", after=REMOVED),
        )
        assert words not in json.dumps(to_json(metrics))


def test_every_experience_of_the_line_is_listed_page_by_page_with_role_and_weight(
    db: Database, root: Path
) -> None:
    first, second = (publish(db, root, range(n, n + 20))[0] for n in (0, 20))
    found: list[LineageUse] = []
    after: lineage.UsePlace | None = None
    while True:
        page = registry.list_uses(db, second, with_ancestors=True, role=None, after=after, limit=7)
        found += page[:7]
        if len(page) <= 7:
            break
        last = page[6]
        after = lineage.UsePlace(
            cycle_number=last.cycle_number, role=last.role, position=last.position
        )
    listed = [(use.checkpoint_id, use.role, use.experience_id) for use in found]
    wanted = [
        (checkpoint_id, use.role, use.experience_id)
        for checkpoint_id in (second, first)
        for use in registry.list_provenance(db, checkpoint_id)
    ]
    assert listed == wanted
    assert all(0.5 <= use.weight <= 1 for use in found)
