"""Group commit: many callers, few commits, each told of its own exchange, and a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from app.db.engine import Database
from app.domain.exchange import Exchange
from app.errors import IngestOverloaded, InstanceNotFound
from app.services.experiences import get_experience
from app.services.ingest import IngestOutcome, IngestResult, Submission
from app.worker import ingest_writer
from app.worker.ingest_writer import IngestWriter
from tests.support import make_exchange


@pytest.fixture
def touched() -> list[set[str]]:
    return []


@pytest.fixture
def writer(db: Database, touched: list[set[str]]) -> Iterator[IngestWriter]:
    started = IngestWriter(db, on_ingested=touched.append, max_queued=60)
    started.start()
    yield started
    started.stop()
    assert not started.is_alive


def submission(number: int, instance: str = "default") -> Submission:
    return Submission(exchange=Exchange(**make_exchange(number, instance=instance)))


def test_every_caller_learns_of_its_own_exchange_once_it_is_stored(
    writer: IngestWriter, db: Database, touched: list[set[str]]
) -> None:
    async def post_all() -> list[IngestResult]:
        return await asyncio.gather(*(writer.submit(submission(n)) for n in range(60)))

    results = asyncio.run(post_all())
    for number, result in enumerate(results):
        assert result.outcome is IngestOutcome.INSERTED
        assert result.experience is not None
        stored = get_experience(db, result.experience["id"])
        assert stored.row.prompt == make_exchange(number)["prompt"]
    assert len(touched) < 60


def test_refused_exchange_does_not_cost_the_others(writer: IngestWriter) -> None:
    async def post_all() -> list[IngestResult | BaseException]:
        posts = [submission(1), submission(2, "nobody"), submission(3)]
        return await asyncio.gather(*map(writer.submit, posts), return_exceptions=True)

    first, second, third = asyncio.run(post_all())
    assert isinstance(second, InstanceNotFound)
    assert isinstance(first, IngestResult)
    assert isinstance(third, IngestResult)


def test_beyond_the_limit_new_exchanges_are_refused(writer: IngestWriter, db: Database) -> None:
    async def post_all() -> list[IngestResult | BaseException]:
        posts = [submission(n) for n in range(400)]
        with db.write():  # nobody else writes meanwhile
            waiting = [asyncio.ensure_future(writer.submit(post)) for post in posts]
            await asyncio.sleep(0.2)
            assert sum(post.done() for post in waiting) >= 400 - 60 - ingest_writer.MAX_GROUP
        return await asyncio.gather(*waiting, return_exceptions=True)

    results = asyncio.run(post_all())
    refused = [result for result in results if isinstance(result, IngestOverloaded)]
    stored = [result for result in results if isinstance(result, IngestResult)]
    assert len(refused) + len(stored) == 400
    assert 60 <= len(stored) <= 60 + ingest_writer.MAX_GROUP


def test_one_batch_at_a_time_has_its_turn_and_single_posts_need_none(
    writer: IngestWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_writer, "BUSY_TIMEOUT_SECONDS", 0.05)
    with writer.batch_turn():
        with pytest.raises(IngestOverloaded), writer.batch_turn():
            pass
        assert asyncio.run(writer.submit(submission(1))).outcome is IngestOutcome.INSERTED
    with writer.batch_turn():
        pass
