"""The words an instance used: known by texts or table, whoever wrote them, across restarts."""

from __future__ import annotations

import random

import pytest
import sqlalchemy as sa

from app.clock import new_id, utc_now
from app.db import experiences, ingest, seen_words
from app.db.engine import Database
from app.db.seen_words import word_hash
from app.db.tables import ExperienceRow, SeenWordRow
from app.domain.salience import distinct_words
from app.errors import DatabaseUnavailable


def say(db: Database, response: str, instance_id: int = 1) -> set[str]:
    """Store a reply as ingest does; returns its words that were new."""
    row = dict.fromkeys(ingest._COLUMNS) | {
        "id": new_id(), "content_sha256": new_id(), "prompt": "p", "response": response,
        "history": [], "tool_calls": [], "metadata": {}, "surprise": 0.5, "novelty": 0.5,
        "arousal": 0.5, "reward": 0.5, "conflict": 0.5, "total": 0.5, "scorer": "caller",
        "status": "buffered", "similarity": 0.0, "is_truncated": False, "is_kept_out": False,
    }  # fmt: skip
    with db.write_driver() as connection:
        new = db.seen_words.find_new(connection, instance_id, distinct_words(response))
        ingest.insert_experiences(connection, instance_id, [row], received_at=utc_now())
        db.seen_words.add(connection, instance_id, new, [response])
    return set(new)


def erase_newest(db: Database, instance_id: int) -> None:
    with db.write() as session:
        newest = sa.select(sa.func.max(ExperienceRow.seq)).where(
            ExperienceRow.instance_id == instance_id
        )
        if (seq := session.scalar(newest)) is not None:
            experiences.erase(session, seq, reason="erased", now=utc_now())


def add_instance(db: Database, slug: str) -> int:
    with db.write_driver() as connection:
        (added,) = connection.execute(
            "INSERT INTO instances (slug, policy, recipe, created_at, updated_at) "
            "VALUES (?, '{}', '{}', '2026', '2026') RETURNING id",
            (slug,),
        ).fetchone()
        return int(added)


def test_only_words_never_used_before_are_new(db: Database) -> None:
    assert say(db, "we notice") == {"we", "notice"}
    assert say(db, "we learn we") == {"learn"}
    assert say(db, "we learn") == set()


def test_words_belong_to_one_instance(db: Database) -> None:
    say(db, "we")
    assert say(db, "we", add_instance(db, "other")) == {"we"}


def test_words_of_a_transaction_that_failed_stay_new(db: Database) -> None:
    with pytest.raises(DatabaseUnavailable), db.write_driver() as connection:  # noqa: PT012
        db.seen_words.find_new(connection, 1, frozenset({"we"}))
        db.seen_words.add(connection, 1, {"we": word_hash("we")}, ["we"])
        connection.execute("SELECT * FROM nowhere")
    assert say(db, "we") == {"we"}


def test_the_table_is_brought_up_to_date_once_for_many_exchanges(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen_words, "UNWRITTEN_EXPERIENCES", 3)
    written = []
    for word in "abcdefgh":
        say(db, word)
        with db.read() as session:
            written.append(len(session.scalars(sa.select(SeenWordRow.word_hash)).all()))
    assert written == [0, 0, 0, 4, 4, 4, 4, 8]


@pytest.mark.parametrize("seed", range(20))
def test_restarts_other_processes_and_erasures_change_no_answer(
    db: Database, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(seen_words, "UNWRITTEN_EXPERIENCES", 3)
    monkeypatch.setattr(seen_words, "MAX_WORDS", 25)
    chance = random.Random(seed)  # noqa: S311  # no secret
    processes = [db, Database(str(db.url), db.defaults)]
    said: set[str] = set()
    for _ in range(60):
        process = chance.choice(processes)
        match chance.randrange(8):
            case 0:
                process.seen_words = seen_words.SeenWords()  # all that a restart loses
            case 1:
                erase_newest(process, 1)
            case _:
                words = {f"w{chance.randrange(60)}" for _ in range(chance.randrange(1, 5))}
                assert say(process, " ".join(words)) == words - said
                said |= words
    processes[1].close()


def test_word_hash_is_the_same_everywhere() -> None:
    assert word_hash("basil") == 3319141267634005361
    assert -(2**63) <= word_hash("we") < 2**63
