"""Ingest: scored with what the instance said before, told from duplicates, never lost."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from app.db import instances
from app.db.engine import Database
from app.domain.exchange import Exchange
from app.domain.experience import ExperienceStatus, content_hash, is_held_out
from app.errors import (
    IdempotencyKeyReused,
    IngestOverloaded,
    InstanceNotFound,
    SourceIdConflict,
)
from app.services.ingest import (
    IngestOutcome,
    IngestResult,
    Submission,
    ingest_many,
    read_ahead,
)
from app.services.instances import put_instance
from tests.support import make_exchange

NOW = datetime(2026, 1, 18, 12, tzinfo=UTC)


def post(db: Database, key: str | None = None, **values: Any) -> IngestResult:
    submission = Submission(exchange=Exchange(**values), idempotency_key=key)
    (result,) = ingest_many(db, [submission], now=NOW)
    if result.error is not None:
        raise result.error
    return result


def salience_of(result: IngestResult) -> dict[str, float]:
    assert result.experience is not None
    return {name: result.experience[name] for name in ("surprise", "novelty", "total")}


def status_of(result: IngestResult) -> str:
    assert result.experience is not None
    return str(result.experience["status"])


def test_scores_do_not_change_because_of_a_restart(db: Database) -> None:
    together = [
        salience_of(result)
        for result in ingest_many(
            db,
            [
                Submission(exchange=Exchange(**make_exchange(n, instance="default")))
                for n in range(12)
            ],
            now=NOW,
        )
    ]
    put_instance(db, "other", {}, now=NOW)
    apart = []
    for n in range(12):
        fresh = Database(str(db.url), db.defaults)
        apart.append(salience_of(post(fresh, **make_exchange(n, instance="other"))))
        fresh.close()
    assert apart == together


def test_what_was_read_ahead_is_scored_as_what_was_not(db: Database) -> None:
    put_instance(db, "other", {}, now=NOW)
    long = [
        make_exchange(n, response=" ".join(f"Piece {n * i % 400} of it." for i in range(400)))
        for n in range(1, 8)
    ]
    short = make_exchange(100)
    plain = [salience_of(post(db, **item)) for item in (long[0], short, *long[1:])]

    def submit(*items: dict[str, Any]) -> list[Submission]:
        return [Submission(exchange=Exchange(**item, instance="other")) for item in items]

    read = read_ahead(db, submit(*long))  # while nothing was said yet
    assert all(submission.is_long and submission.judge for submission in read)
    results = [
        *ingest_many(db, read[:1], now=NOW),
        *ingest_many(db, submit(short), now=NOW),
        *ingest_many(db, [*read[1:], *submit(long[0])], now=NOW),
    ]
    assert results.pop().outcome is IngestOutcome.DUPLICATE
    assert [salience_of(result) for result in results] == plain


def test_long_batches_let_others_write_between_and_are_stored_in_order(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.services.ingest.MAX_TRANSACTION_CHARACTERS", 500)
    put_instance(db, "other", {}, now=NOW)
    items = [make_exchange(n) for n in (*range(12), 3)]
    one_by_one = [salience_of(post(db, **item)) for item in items[:-1]]
    with db.read() as session:
        before = session.execute(sa.text("SELECT max(seq) FROM experiences")).scalar_one()
    submissions = [Submission(exchange=Exchange(**item, instance="other")) for item in items]
    results = ingest_many(db, submissions, now=NOW)
    assert results.pop().outcome is IngestOutcome.DUPLICATE
    assert [salience_of(result) for result in results] == one_by_one
    with db.read() as session:
        query = sa.text("SELECT prompt FROM experiences WHERE seq > :before ORDER BY seq")
        stored = session.execute(query, {"before": before}).scalars().all()
    assert list(stored) == [item["prompt"] for item in items[:-1]]
    assert ingest_many(db, [], now=NOW) == []


def test_batch_that_was_stored_in_part_and_is_sent_again_is_stored_once(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.services.ingest.MAX_TRANSACTION_CHARACTERS", 500)
    put_instance(db, "other", {}, now=NOW)
    items = [make_exchange(n) for n in range(12)]
    one_by_one = [salience_of(post(db, **item)) for item in items]
    batch = [Submission(exchange=Exchange(**item, instance="other")) for item in items]
    turns = 0

    def take_turn() -> AbstractContextManager[None]:
        nonlocal turns
        turns += 1
        if turns == 4:
            raise IngestOverloaded("later")
        return nullcontext()

    with pytest.raises(IngestOverloaded):
        ingest_many(db, batch, now=NOW, take_turn=take_turn)
    results = ingest_many(db, batch, now=NOW)
    outcomes = [result.outcome for result in results]
    known = outcomes.count(IngestOutcome.DUPLICATE)
    assert 0 < known < len(items)
    assert outcomes == [IngestOutcome.DUPLICATE] * known + [IngestOutcome.INSERTED] * (12 - known)
    assert [salience_of(result) for result in results] == one_by_one


def test_same_exchange_twice_is_stored_once(db: Database) -> None:
    first = post(db, **make_exchange(1))
    again = post(db, **make_exchange(1))
    assert again.outcome is IngestOutcome.DUPLICATE
    assert again.experience is not None
    assert first.experience is not None
    assert again.experience["id"] == first.experience["id"]


def test_same_exchange_in_another_instance_is_another_experience(db: Database) -> None:
    put_instance(db, "other", {}, now=NOW)
    post(db, **make_exchange(1))
    result = post(db, **make_exchange(1, instance="other"))
    assert result.outcome is IngestOutcome.INSERTED


def test_reused_keys_for_other_exchanges_are_refused(db: Database) -> None:
    post(db, key="k", **make_exchange(1, source_id="s"))
    with pytest.raises(IdempotencyKeyReused):
        post(db, key="k", **make_exchange(2))
    with pytest.raises(SourceIdConflict):
        post(db, **make_exchange(3, source_id="s"))
    assert post(db, key="k", **make_exchange(1)).outcome is IngestOutcome.DUPLICATE


def test_unknown_instance_is_refused(db: Database) -> None:
    with pytest.raises(InstanceNotFound):
        post(db, **make_exchange(1, instance="nobody"))


def test_held_out_tenth_is_fixed_by_hash(db: Database) -> None:
    for n in range(40):
        exchange = make_exchange(n)
        held = is_held_out(content_hash(exchange["prompt"], exchange["response"]))
        status = status_of(post(db, **exchange))
        assert status == ("held_out" if held else "buffered")


def test_collapsed_reply_is_kept_but_filtered(db: Database) -> None:
    exchange = make_exchange(1)
    post(db, **exchange)
    copy = post(db, prompt="another question", response=exchange["response"] + " Yes.")
    assert status_of(copy) == ExperienceStatus.FILTERED
    assert copy.experience is not None
    assert copy.experience["similarity"] > 0.85


def test_callers_salience_is_kept_and_marked(db: Database) -> None:
    mine = {"surprise": 1.0, "novelty": 0.5, "arousal": 0.25, "reward": 0.75, "conflict": 0.0}
    result = post(db, **make_exchange(1, salience=mine))
    assert result.experience is not None
    assert {name: result.experience[name] for name in mine} == mine
    assert (result.experience["total"], result.experience["scorer"]) == (0.5, "caller")


def test_bad_item_does_not_stop_the_batch(db: Database) -> None:
    exchanges = [make_exchange(1), make_exchange(2, instance="nobody"), make_exchange(3)]
    results = ingest_many(
        db,
        [Submission(exchange=Exchange(**exchange)) for exchange in exchanges],
        now=NOW,
    )
    assert [result.outcome.value for result in results] == ["inserted", "rejected", "inserted"]


def test_totals_follow_every_exchange(db: Database) -> None:
    results = [post(db, **make_exchange(n)) for n in range(15)]
    expected = sum(
        salience_of(result)["total"] for result in results if status_of(result) == "buffered"
    )
    with db.read() as session:
        totals = instances.totals_by_status(session, [1])[1]
    assert totals["buffered"].total == pytest.approx(expected)
    assert sum(total.count for total in totals.values()) == 15


def test_same_exchange_from_many_threads_is_stored_once(db: Database) -> None:
    outcomes: list[IngestOutcome] = []

    def send() -> None:
        outcomes.extend(post(db, **make_exchange(n)).outcome for n in range(10))

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(IngestOutcome.INSERTED) == 10
    assert outcomes.count(IngestOutcome.DUPLICATE) == 50


def test_same_words_after_another_history_are_another_exchange(db: Database) -> None:
    def after(*contents: str) -> IngestResult:
        history = [{"role": "user", "content": content} for content in contents]
        return post(db, prompt="And then?", response="We went home.", history=history)

    first, other, none = after("It rained."), after("It snowed."), after()
    assert {first.outcome, other.outcome, none.outcome} == {IngestOutcome.INSERTED}
    assert after("It snowed.").outcome is IngestOutcome.DUPLICATE
    assert after().outcome is IngestOutcome.DUPLICATE
    held_out = {
        result.experience["is_kept_out"] for result in (first, other, none) if result.experience
    }
    assert len(held_out) == 1  # what is learned after one history is no yardstick after another


def test_exchange_stored_when_a_history_was_no_part_of_its_hash_is_known_again(
    db: Database,
) -> None:
    values = {"prompt": "And then?", "response": "We went home."}
    history = [{"role": "user", "content": "It rained."}]
    stored = post(db, **values, history=history).experience
    assert stored is not None
    with db.write() as session:
        session.execute(
            sa.text("UPDATE experiences SET content_sha256 = :older WHERE id = :id"),
            {"older": content_hash(values["prompt"], values["response"]), "id": stored["id"]},
        )
    again = post(db, **values, history=history)
    assert again.outcome is IngestOutcome.DUPLICATE
    assert again.experience is not None
    assert again.experience["id"] == stored["id"]
    other = [{"role": "user", "content": "It snowed."}]
    assert post(db, **values, history=other).outcome is IngestOutcome.INSERTED


@pytest.mark.parametrize(
    ("response", "finish_reason", "is_truncated"),
    [
        ("We went home.", "length", True),
        ("We went home.", None, False),
        ("We went home and", "stop", False),
        ("We went home and", None, True),
        ("We went home", None, False),
    ],
)
def test_how_a_reply_ended_is_what_its_runtime_says(
    db: Database,
    response: str,
    finish_reason: str | None,
    is_truncated: bool,
) -> None:
    stored = post(db, prompt="And?", response=response, finish_reason=finish_reason)
    assert stored.experience is not None
    assert stored.experience["is_truncated"] is is_truncated
    assert stored.experience["finish_reason"] == finish_reason


def test_salience_judges_what_was_said(db: Database) -> None:
    thought = "<think>perhaps I might be uncertain? a mistake? we, us, our</think>"
    said = "Precisely: we noticed it together."
    put_instance(db, "plain", {}, now=NOW)
    put_instance(db, "thinking", {}, now=NOW)
    plain = post(db, instance="plain", prompt="And?", response=said)
    thinking = post(db, instance="thinking", prompt="And?", response=thought + said)
    assert salience_of(plain) == salience_of(thinking)
    assert thinking.experience is not None
    assert thinking.experience["response"] == thought + said  # stored whole


def test_system_prompt_of_white_space_means_that_none_was_used(db: Database) -> None:
    for text in ("", "  \n"):
        stored = post(db, prompt="And?", response=f"So: {text!r}.", system_prompt=text)
        assert stored.experience is not None
        assert stored.experience["system_prompt"] == ""
