"""Ingest: exchanges are scored, filtered and kept; long, for it is one transaction's way.

Scoring reads the instance's recent responses and known words inside the same write transaction
that stores the result, so two sessions posting at once are scored one after the other, and a
restart changes no score. What takes long of it, reading long texts, is done before: `read_ahead`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from app.clock import new_id
from app.db import ingest
from app.db.dialect import Driver
from app.db.engine import Database, driver_of
from app.db.seen_words import SeenWords
from app.domain.collapse import RECENT_RESPONSES_FOR_SIMILARITY
from app.domain.declared import lay_usable_over
from app.domain.exchange import DEFAULT_INSTANCE, Exchange
from app.domain.experience import (
    ExperienceStatus,
    content_hash,
    is_held_out,
    status_at_ingest,
)
from app.domain.model_names import MAX_NAME_CHARACTERS, slugs_of
from app.domain.policy import lay_over_policy
from app.domain.reply_parts import said_in
from app.domain.salience import distinct_words
from app.domain.verbatim import REMOVED
from app.errors import (
    Conflict,
    IdempotencyKeyReused,
    InstanceNotFound,
    SageSleepError,
    SourceIdConflict,
)
from app.services.judging import Judge

MAX_TRANSACTION_CHARACTERS = 1 << 18
"""Of responses in one transaction: hundreds of the usual length. Of the dearest, whose words are
one letter each and all new, one took 0.7 s of CPU time."""

READ_AHEAD_CHARACTERS = 4096
"""A longer response is read ahead of the transaction; for shorter ones it is not worth a look."""


class IngestOutcome(StrEnum):
    """What became of one posted exchange."""

    INSERTED = "inserted"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """One exchange with the key its request carried.

    Attributes:
        judge: What has read it ahead; None where nothing has.
    """

    exchange: Exchange
    idempotency_key: str | None = None
    judge: Judge | None = None

    @property
    def is_long(self) -> bool:
        """Whether it should be read ahead."""
        return len(self.exchange.response) > READ_AHEAD_CHARACTERS


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestResult:
    """What is known of one submitted exchange after ingest.

    Attributes:
        experience: Column values of the experience; None when rejected.
        error: Why it was rejected.
    """

    outcome: IngestOutcome
    experience: dict[str, Any] | None = None
    error: SageSleepError | None = None


def ingest_many(
    db: Database,
    submissions: Sequence[Submission],
    *,
    now: datetime,
    take_turn: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> list[IngestResult]:
    """Store exchanges in order; a bad one does not stop the others.

    All are stored in one transaction, unless they are so long that others would wait for it. Where
    the second of several fails, the first is stored: who sends all of it again has each once.

    Args:
        take_turn: Held while a transaction's worth is read and stored.
    """
    results: list[IngestResult] = []
    for part in _parts(submissions):
        is_read = all(submission.judge or not submission.is_long for submission in part)
        with take_turn():
            results += _ingest_part(db, part if is_read else read_ahead(db, part), now=now)
    return results


def _parts(submissions: Sequence[Submission]) -> Iterator[Sequence[Submission]]:
    """Runs of them whose responses are not too long together."""
    start, length = 0, 0
    for index, submission in enumerate(submissions):
        length += len(submission.exchange.response)
        if length > MAX_TRANSACTION_CHARACTERS and index > start:
            yield submissions[start:index]
            start, length = index, len(submission.exchange.response)
    yield submissions[start:]


def _ingest_part(
    db: Database, submissions: Sequence[Submission], *, now: datetime
) -> list[IngestResult]:
    results: list[IngestResult] = [
        IngestResult(outcome=IngestOutcome.REJECTED) for _ in submissions
    ]
    with db.write_driver() as connection:
        for slug, indexes in _by_instance(submissions).items():
            wanted = [submissions[index] for index in indexes]
            stored = _ingest_into(db, connection, slug, wanted, now=now)
            for index, result in zip(indexes, stored, strict=True):
                results[index] = result
    return results


def read_ahead(db: Database, submissions: Sequence[Submission]) -> list[Submission]:
    """Judge exchanges as if they were stored now, so that storing them finds most of it done.

    Takes long for long ones, and holds nothing meanwhile.
    """
    judge = Judge()
    for slug, indexes in _by_instance(submissions).items():
        exchanges, recent = _look_ahead(db, slug, [submissions[index] for index in indexes])
        for exchange in exchanges:
            judge.judge(exchange, recent_responses=recent, new_word_share=None)
            recent = [*recent, exchange.response][-RECENT_RESPONSES_FOR_SIMILARITY:]
    return [replace(submission, judge=submission.judge or judge) for submission in submissions]


def _look_ahead(
    db: Database, slug: str, submissions: Sequence[Submission]
) -> tuple[list[Exchange], list[str]]:
    """Those that the instance does not know yet, and its recent responses."""
    with db.read() as session:
        connection = driver_of(session)
        instance = ingest.find_instance(connection, slug)
        if instance is None:
            return [], []
        _, new = _tell_apart(connection, instance.id, submissions)
        recent = ingest.list_recent_responses(
            connection, instance.id, RECENT_RESPONSES_FOR_SIMILARITY
        )
        return [submission.exchange for submission, _ in new], recent


def _by_instance(submissions: Sequence[Submission]) -> dict[str, list[int]]:
    """Where the exchanges of each instance stand."""
    found: dict[str, list[int]] = {}
    for index, submission in enumerate(submissions):
        found.setdefault(submission.exchange.instance, []).append(index)
    return found


def list_touched(submissions: Sequence[Submission], results: Sequence[IngestResult]) -> set[str]:
    """The slugs of the instances that got something new."""
    return {
        submission.exchange.instance
        for submission, result in zip(submissions, results, strict=True)
        if result.outcome is IngestOutcome.INSERTED
    }


def _ingest_into(
    db: Database,
    connection: Driver,
    slug: str,
    submissions: Sequence[Submission],
    *,
    now: datetime,
) -> list[IngestResult]:
    instance = ingest.find_instance(connection, slug)
    if instance is None:
        error = InstanceNotFound(
            f"There is no instance {slug!r}; create it with PUT /v1/instances/{slug}.",
            pointer="/instance",
            instance=slug,
        )
        return [IngestResult(outcome=IngestOutcome.REJECTED, error=error) for _ in submissions]
    results, new = _tell_apart(connection, instance.id, submissions)
    if new:
        exchanges = [submission.exchange for submission, _ in new]
        if not instance.has_model and (name := _said_model(slug, exchanges)) is not None:
            ingest.record_model_name(connection, instance.id, name)
        memory = _Memory(connection, db.seen_words, instance.id, exchanges)
        judge = Judge()
        policy, _ = lay_usable_over(lay_over_policy, db.defaults.policy, instance.policy)
        for submission, row in new:
            row.update(
                _judge(
                    submission.judge or judge,
                    submission.exchange,
                    memory=memory,
                    min_salience=policy.min_salience,
                )
            )
            memory.add(submission.exchange.response)
        ingest.insert_experiences(connection, instance.id, [row for _, row in new], received_at=now)
        ingest.record_exchange_at(connection, instance.id, now)
        responses = [exchange.response for exchange in exchanges]
        db.seen_words.add(connection, instance.id, memory.new_words, responses)
    return results


def _said_model(slug: str, exchanges: Sequence[Exchange]) -> str | None:
    """What session scripts call their model, where the instance has its name by it and no more.

    An older one makes no other word of it, so that its exchanges would be trained into any base.
    """
    if slug == DEFAULT_INSTANCE:
        return None
    for exchange in exchanges:
        machine, model = exchange.metadata.get("machine"), exchange.metadata.get("model")
        if isinstance(machine, str) and isinstance(model, str) and slug in slugs_of(machine, model):
            return model[:MAX_NAME_CHARACTERS]
    return None


def _tell_apart(
    connection: Driver, instance_id: int, submissions: Sequence[Submission]
) -> tuple[list[IngestResult], list[tuple[Submission, dict[str, Any]]]]:
    """Tell new exchanges from known and refused ones.

    Returns:
        A result for each, and the new exchanges with their rows, which wait for their scores.
    """
    hashes = _hashes(connection, instance_id, [s.exchange for s in submissions])
    known = _Known(connection, instance_id, submissions, hashes)
    results: list[IngestResult] = []
    new: list[tuple[Submission, dict[str, Any]]] = []
    for submission, sha256 in zip(submissions, hashes, strict=True):
        try:
            row = known.find(submission, sha256)
        except Conflict as error:
            results.append(IngestResult(outcome=IngestOutcome.REJECTED, error=error))
            continue
        outcome = IngestOutcome.DUPLICATE
        if row is None:
            outcome = IngestOutcome.INSERTED
            row = _sent(submission, sha256)
            known.add(row)
            new.append((submission, row))
        results.append(IngestResult(outcome=outcome, experience=row))
    return results, new


def _hashes(connection: Driver, instance_id: int, exchanges: Sequence[Exchange]) -> list[str]:
    """The content hash of each; that of what was stored with a history before it was part of it."""
    older = {
        content_hash(exchange.prompt, exchange.response): exchange
        for exchange in exchanges
        if exchange.history
    }
    stored = ingest.histories_by_hash(connection, instance_id, older) if older else {}
    hashes = []
    for exchange in exchanges:
        turns = [turn.model_dump() for turn in exchange.history]
        sha256 = content_hash(exchange.prompt, exchange.response)
        if turns and not _is_what_is_left(stored.get(sha256), turns):
            history = [(turn.role, turn.content) for turn in exchange.history]
            sha256 = content_hash(exchange.prompt, exchange.response, history)
        hashes.append(sha256)
    return hashes


def _is_what_is_left(stored: Sequence[Any] | None, turns: Sequence[Any]) -> bool:
    """Whether a history is stored, perhaps without turns that repeated what was erased."""
    return (
        stored is not None
        and len(stored) == len(turns)
        and all(
            turn in (sent, {**sent, "content": REMOVED})
            for turn, sent in zip(stored, turns, strict=True)
        )
    )


class _Known:
    """Experiences the instance holds already, by each of their three keys; for one transaction."""

    def __init__(
        self,
        connection: Driver,
        instance_id: int,
        submissions: Sequence[Submission],
        hashes: Sequence[str],
    ) -> None:
        self._by_hash: dict[str, dict[str, Any]] = {}
        self._by_source: dict[str, dict[str, Any]] = {}
        self._by_key: dict[str, dict[str, Any]] = {}
        for values in ingest.find_known(
            connection,
            instance_id,
            content_hashes=hashes,
            source_ids=[s.exchange.source_id for s in submissions if s.exchange.source_id],
            idempotency_keys=[s.idempotency_key for s in submissions if s.idempotency_key],
        ):
            self.add(values)

    def add(self, values: dict[str, Any]) -> None:
        self._by_hash[values["content_sha256"]] = values
        if values["source_id"] is not None:
            self._by_source[values["source_id"]] = values
        if values["idempotency_key"] is not None:
            self._by_key[values["idempotency_key"]] = values

    def find(self, submission: Submission, sha256: str) -> dict[str, Any] | None:
        """The same exchange, if it is known. Raises: SourceIdConflict, IdempotencyKeyReused."""
        key, source_id = submission.idempotency_key, submission.exchange.source_id
        by_key = self._by_key.get(key) if key else None
        if by_key is not None and by_key["content_sha256"] != sha256:
            raise IdempotencyKeyReused(
                "This Idempotency-Key was used for another exchange; use a new key.",
                experience_id=by_key["id"],
            )
        by_source = self._by_source.get(source_id) if source_id else None
        if by_source is not None and by_source["content_sha256"] != sha256:
            raise SourceIdConflict(
                "This source_id belongs to another exchange; give each exchange its own.",
                pointer="/source_id",
                experience_id=by_source["id"],
            )
        return self._by_hash.get(sha256)


class _Memory:
    """What the instance said before, as scoring needs it; for one transaction."""

    def __init__(
        self,
        connection: Driver,
        seen_words: SeenWords,
        instance_id: int,
        exchanges: Sequence[Exchange],
    ) -> None:
        self.recent = ingest.list_recent_responses(
            connection, instance_id, RECENT_RESPONSES_FOR_SIMILARITY
        )
        self._words = {e.response: distinct_words(said_in(e.response)) for e in exchanges}
        said = frozenset[str]().union(*self._words.values())
        self.new_words = seen_words.find_new(connection, instance_id, said)
        self._unsaid = set(self.new_words)
        self._is_first = not self.recent and len(self.new_words) == len(said)

    def new_word_share(self, response: str) -> float | None:
        """Share of distinct words never used before; None for the very first response."""
        if self._is_first:
            return None
        words = self._words[response]
        return len(words & self._unsaid) / len(words) if words else 0.0

    def add(self, response: str) -> None:
        self._unsaid -= self._words[response]
        self._is_first = False
        self.recent = [*self.recent, response][-RECENT_RESPONSES_FOR_SIMILARITY:]


def _sent(submission: Submission, sha256: str) -> dict[str, Any]:
    """The columns of a row that hold what was sent."""
    exchange = submission.exchange
    return {
        "id": new_id(),
        "source_id": exchange.source_id,
        "idempotency_key": submission.idempotency_key,
        "content_sha256": sha256,
        "session": exchange.session,
        "session_number": exchange.session_number,
        "phase": exchange.phase,
        "prompt": exchange.prompt,
        "response": exchange.response,
        "history": exchange.history,
        "system_prompt": exchange.system_prompt,
        "finish_reason": exchange.finish_reason,
        "tool_calls": exchange.tool_calls,
        "metadata": exchange.metadata,
        "occurred_at": exchange.occurred_at,
    }


def _judge(
    judge: Judge, exchange: Exchange, *, memory: _Memory, min_salience: float
) -> dict[str, Any]:
    """Score and filter one new exchange; returns the columns of its row that say so."""
    judged = judge.judge(
        exchange,
        recent_responses=memory.recent,
        new_word_share=memory.new_word_share(exchange.response),
    )
    salience, finding = judged.salience, judged.finding
    # By the words themselves: what is learned after one history is no yardstick after another.
    is_kept_out = is_held_out(content_hash(exchange.prompt, exchange.response))
    status = status_at_ingest(
        salience=salience,
        is_filtered=finding.is_filtered,
        is_kept_out=is_kept_out,
        min_salience=min_salience,
    )
    reason = finding.reason
    if status is ExperienceStatus.BELOW_THRESHOLD:
        reason = f"salience {salience.total:.3f} below {min_salience:.3f}"
    return {
        **salience.components(),
        "total": salience.total,
        "scorer": judged.scorer,
        "status": status.value,
        "reason": reason,
        "similarity": finding.similarity,
        "is_truncated": judged.is_truncated,
        "is_kept_out": is_kept_out,
    }
