"""What a cycle is made of: the most salient first, of equals the oldest; the newest held out."""

from __future__ import annotations

import random
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.clock import new_id, utc_now
from app.db import trainable
from app.db.engine import Database
from app.db.tables import ExperienceRow
from app.domain.experience import ExperienceStatus

LIMIT = 20


def insert(session: Session, **values: Any) -> None:
    common = {
        "id": new_id(), "instance_id": 1, "source_id": None, "idempotency_key": None,
        "content_sha256": new_id(), "session": None, "session_number": None, "phase": None,
        "prompt": "p", "response": "r", "history": [], "system_prompt": None, "tool_calls": [],
        "extra": {}, "occurred_at": None, "received_at": utc_now(), "surprise": 0.5,
        "novelty": 0.5, "arousal": 0.5, "reward": 0.5, "conflict": 0.5, "total": 0.5,
        "scorer": "caller", "status": ExperienceStatus.BUFFERED, "reason": None,
        "similarity": 0.0, "is_truncated": False, "is_kept_out": False, "attempts": 0,
        "erased_at": None,
    }  # fmt: skip
    session.add(ExperienceRow(**(common | values)))
    session.flush()


@pytest.mark.parametrize("levels", [1, 2, 3, 1000])
def test_what_counts_comes_first_of_each_the_most_salient_and_of_equals_the_oldest(
    db: Database, levels: int
) -> None:
    chance = random.Random(levels)  # noqa: S311  # no secret
    with db.write() as session:
        for _ in range(3 * LIMIT):
            insert(
                session,
                total=0.5 + chance.randrange(levels) / (2 * levels),
                status=chance.choice([ExperienceStatus.BUFFERED, ExperienceStatus.BELOW_THRESHOLD]),
                is_kept_out=chance.random() < 0.2,
            )
    with db.read() as session:
        free = session.scalars(sa.select(ExperienceRow).where(~ExperienceRow.is_kept_out)).all()
        most_salient = sorted(free, key=lambda row: (-row.total, row.seq))
        counted_first = sorted(most_salient, key=lambda row: row.status != "buffered")
        for limit in (1, LIMIT, 10 * LIMIT):
            found = trainable.list_waiting(session, 1, min_salience=0.5, limit=limit)
            expected = [(row.seq, row.status == "buffered") for row in counted_first[:limit]]
            assert [(item.seq, item.is_counted) for item in found] == expected


def test_the_newest_of_the_held_out_are_measured_with(db: Database) -> None:
    with db.write() as session:
        for number in range(3 * LIMIT):
            is_kept_out = number % 2 == 0
            status = ExperienceStatus.HELD_OUT if is_kept_out else ExperienceStatus.BUFFERED
            insert(session, status=status, is_kept_out=is_kept_out, total=number / 100)
    with db.read() as session:
        found = trainable.list_held_out(session, 1, LIMIT)
        kept_out = sa.select(ExperienceRow.seq).where(ExperienceRow.is_kept_out)
        newest = session.scalars(kept_out.order_by(ExperienceRow.seq.desc()).limit(LIMIT)).all()
    assert [item.seq for item in found] == list(newest)
