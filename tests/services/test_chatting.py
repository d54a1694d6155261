"""Whom a name means: an instance's current checkpoint, its base, an alias, or a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.db.engine import Database
from app.domain.chat import read_model_name
from app.domain.exchange import Exchange
from app.errors import (
    CheckpointNotFound,
    IdempotencyKeyReused,
    InstanceNotFound,
    NoCandidate,
    NoPreviousCheckpoint,
)
from app.services import chatting
from app.services.ingest import Submission, ingest_many
from app.services.instances import put_instance
from tests.publishing import NOW, publish, roll_back
from tests.support import make_exchange


def spoken(db: Database, name: str) -> str | None:
    """The checkpoint that answers to a name."""
    view = chatting.find_spoken(db, read_model_name(name)).checkpoint
    return None if view is None else view.row.id


@pytest.fixture
def root(data_dir: Path) -> Path:
    return data_dir / "checkpoints"


def test_name_means_what_is_live_now(db: Database, root: Path) -> None:
    put_instance(db, "default", {"system_prompt": "You are Sprout."}, now=NOW)
    assert spoken(db, "default") is None
    first, _ = publish(db, root, range(40))
    assert spoken(db, "default") == spoken(db, "default@current") == first
    second, _ = publish(db, root, range(40, 80), after=2.4)
    assert spoken(db, "default") == second
    assert spoken(db, "default@previous") == spoken(db, f"default@{first}") == first
    assert spoken(db, first) == first
    assert spoken(db, "default@base") is None
    found = chatting.find_spoken(db, read_model_name(second))
    assert (found.instance, found.system_prompt) == ("default", "You are Sprout.")
    roll_back(db, root)
    assert spoken(db, "default") == first


def test_name_that_means_nothing_is_refused(db: Database, root: Path) -> None:
    checkpoint, _ = publish(db, root, range(40))
    put_instance(db, "other", {}, now=NOW)
    for name, refused in (
        ("nobody", InstanceNotFound),
        ("default@previous", NoPreviousCheckpoint),
        ("default@candidate", NoCandidate),
        (f"other@{checkpoint}", CheckpointNotFound),
        ("01K00000000000000000000000", CheckpointNotFound),
    ):
        with pytest.raises(refused):
            spoken(db, name)


def test_names_that_can_be_talked_to_are_listed(db: Database, root: Path) -> None:
    publish(db, root, range(40))
    put_instance(db, "other", {}, now=NOW)
    listed = {one.name for one in chatting.list_spoken(db)}
    assert {"default", "default@base", "default@current", "other", "other@base"} <= listed
    assert "default@previous" not in listed
    assert {one.name.partition("@")[0] for one in chatting.list_spoken(db, within={"other"})} == {
        "other"
    }


def test_key_finds_the_exchange_that_it_was_used_for(db: Database) -> None:
    exchange = Exchange(**make_exchange(1))
    ingest_many(db, [Submission(exchange=exchange, idempotency_key="k")], now=NOW)
    found = chatting.find_kept(db, "default", "k", exchange.prompt)
    assert found is not None
    assert found.response == exchange.response
    assert chatting.find_kept(db, "default", "another", exchange.prompt) is None
    with pytest.raises(IdempotencyKeyReused):
        chatting.find_kept(db, "default", "k", "something else")
