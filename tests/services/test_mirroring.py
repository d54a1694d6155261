"""What should lie in a mirror: what is ready, and holds nothing that was erased."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.db.engine import Database
from app.db.events import EventFilter
from app.domain.experience import CycleRole
from app.domain.mirror import MAX_DELAY_SECONDS, retry_delay
from app.services import mirroring
from app.services.erasure import erase_experience
from app.services.instances import list_newest_events, put_instance
from app.services.registry import delete_checkpoint, list_provenance
from tests.publishing import NOW, publish

REMOTE = "box:sage"


@pytest.fixture
def wanted(db: Database, tmp_path: Path) -> str:
    """A published checkpoint of an instance that wants copies."""
    checkpoint_id, _ = publish(db, tmp_path, range(40))
    put_instance(db, "default", {"policy": {"push_to_mirror": True}}, now=NOW)
    return checkpoint_id


def mirror(db: Database, checkpoint_id: str) -> None:
    assert mirroring.begin_copy(db, checkpoint_id, REMOTE, now=NOW) is not None
    mirroring.end_copy(db, checkpoint_id, REMOTE, is_new=True, now=NOW)


def told(db: Database) -> list[tuple[str, dict[str, str]]]:
    wanted = EventFilter(subject="checkpoint")
    rows = list_newest_events(db, "default", wanted, before_seq=10**9, limit=50)
    return [(row.type, row.data) for row in rows if "mirrored" in row.type]


def test_copy_waits_where_the_policy_asks_and_the_mirror_lacks_it(
    db: Database, wanted: str
) -> None:
    assert mirroring.list_waiting(db, REMOTE) == [wanted]
    mirroring.begin_copy(db, wanted, REMOTE, now=NOW)
    assert mirroring.count_waiting(db, REMOTE) == 1  # begun is not done
    mirror(db, wanted)
    assert mirroring.count_waiting(db, REMOTE) == 0
    assert mirroring.list_waiting(db, "other:sage") == [wanted]
    put_instance(db, "default", {"policy": {"push_to_mirror": False}}, now=NOW)
    assert mirroring.list_waiting(db, "other:sage") == []
    assert told(db) == [("checkpoint.mirrored", {"remote": REMOTE})]


def test_deleted_checkpoint_goes_from_the_mirror(db: Database, wanted: str, tmp_path: Path) -> None:
    later, _ = publish(db, tmp_path, range(40, 60), after=2.0)
    publish(db, tmp_path, range(60, 80), after=1.5)
    mirror(db, wanted)
    mirroring.begin_copy(db, later, REMOTE, now=NOW)
    assert mirroring.list_unwanted(db) == []
    delete_checkpoint(db, wanted, root=tmp_path, now=NOW)
    (copy,) = mirroring.list_unwanted(db)
    assert (copy.checkpoint_id, copy.remote) == (wanted, REMOTE)
    mirroring.forget_copy(db, copy, now=NOW)
    assert mirroring.list_unwanted(db) == []
    assert wanted not in mirroring.list_waiting(db, REMOTE)
    assert told(db)[0] == ("checkpoint.unmirrored", {"remote": REMOTE, "reason": "deleted"})


def test_what_learned_from_something_erased_goes_even_where_its_copy_was_only_begun(
    db: Database, wanted: str
) -> None:
    mirroring.begin_copy(db, wanted, REMOTE, now=NOW)
    used = list_provenance(db, wanted)
    erase_experience(
        db, next(one.experience_id for one in used if one.role is CycleRole.TRAIN), now=NOW
    )
    assert mirroring.list_waiting(db, REMOTE) == []
    assert mirroring.begin_copy(db, wanted, "other:sage", now=NOW) is None
    (copy,) = mirroring.list_unwanted(db)
    mirroring.forget_copy(db, copy, now=NOW)
    assert told(db)[0][1]["reason"] == "erased"


def test_delay_grows_to_a_quarter_of_an_hour() -> None:
    delays = [retry_delay(times) for times in range(1, 12)]
    assert delays == sorted(delays)
    assert (delays[0], delays[-1]) == (5.0, MAX_DELAY_SECONDS)
    assert retry_delay(10_000) == MAX_DELAY_SECONDS
