"""Ingest: exchanges are scored, filtered, told from duplicates and kept, in one transaction.

Scoring reads the instance's recent responses and known words inside the same write transaction
that stores the result, so two sessions posting at once are scored one after the other, and a
restart changes no score.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

from sqlalchemy.orm import Session

from app.clock import new_id
from app.db import experiences, instances
from app.db.engine import Database
from app.db.tables import ExperienceRow
from app.domain.collapse import (
    RECENT_RESPONSES_FOR_SIMILARITY,
    find_collapse,
    looks_truncated,
)
from app.domain.exchange import Exchange
from app.domain.experience import (
    ExperienceStatus,
    content_hash,
    is_held_out,
    status_at_ingest,
)
from app.domain.salience import (
    CALLER_SCORER,
    COMPONENTS,
    SCORER,
    Salience,
    ToolUse,
    distinct_words,
    score,
)
from app.domain.sleep import InstanceDefaults
from app.errors import Conflict, IdempotencyKeyReused, SageSleepError, SourceIdConflict
from app.services.instances import load_effective


class IngestOutcome(StrEnum):
    """What became of one posted exchange."""

    INSERTED = "inserted"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """One exchange with the key its request carried."""

    exchange: Exchange
    idempotency_key: str | None = None


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
    db: Database, submissions: Sequence[Submission], *, defaults: InstanceDefaults, now: datetime
) -> list[IngestResult]:
    """Store exchanges in order, all in one transaction; a bad one does not stop the others."""
    results: list[IngestResult] = [
        IngestResult(outcome=IngestOutcome.REJECTED) for _ in submissions
    ]
    by_instance: dict[str, list[int]] = {}
    for index, submission in enumerate(submissions):
        by_instance.setdefault(submission.exchange.instance, []).append(index)
    with db.write() as session:
        for slug, indexes in by_instance.items():
            wanted = [submissions[index] for index in indexes]
            stored = _ingest_into(session, slug, wanted, defaults=defaults, now=now)
            for index, result in zip(indexes, stored, strict=True):
                results[index] = result
    return results


def _ingest_into(
    session: Session,
    slug: str,
    submissions: Sequence[Submission],
    *,
    defaults: InstanceDefaults,
    now: datetime,
) -> list[IngestResult]:
    try:
        instance = load_effective(session, slug, defaults)
    except SageSleepError as error:
        return [IngestResult(outcome=IngestOutcome.REJECTED, error=error) for _ in submissions]
    instance_id = instance.row.id
    hashes = [content_hash(s.exchange.prompt, s.exchange.response) for s in submissions]
    known = _Known(session, instance_id, submissions, hashes)
    memory = _Memory(session, instance_id, [s.exchange.response for s in submissions])
    results: list[IngestResult] = []
    inserted: list[dict[str, Any]] = []
    for submission, sha256 in zip(submissions, hashes, strict=True):
        try:
            duplicate = known.find(submission, sha256)
        except Conflict as error:
            results.append(IngestResult(outcome=IngestOutcome.REJECTED, error=error))
            continue
        if duplicate is not None:
            results.append(IngestResult(outcome=IngestOutcome.DUPLICATE, experience=duplicate))
            continue
        values = _judge(
            submission, sha256, memory=memory, min_salience=instance.policy.min_salience
        )
        values |= {"instance_id": instance_id, "received_at": now}
        inserted.append(values)
        known.add(values)
        memory.add(submission.exchange.response)
        results.append(IngestResult(outcome=IngestOutcome.INSERTED, experience=values))
    if inserted:
        experiences.insert_experiences(session, inserted)
        experiences.insert_seen_words(session, instance_id, memory.new_words)
        instances.record_exchange_at(session, instance_id, now)
    return results


class _Known:
    """Experiences the instance holds already, by each of their three keys; for one transaction."""

    def __init__(
        self,
        session: Session,
        instance_id: int,
        submissions: Sequence[Submission],
        hashes: Sequence[str],
    ) -> None:
        self._by_hash: dict[str, dict[str, Any]] = {}
        self._by_source: dict[str, dict[str, Any]] = {}
        self._by_key: dict[str, dict[str, Any]] = {}
        for row in experiences.find_known(
            session,
            instance_id,
            content_hashes=hashes,
            source_ids=[s.exchange.source_id for s in submissions if s.exchange.source_id],
            idempotency_keys=[s.idempotency_key for s in submissions if s.idempotency_key],
        ):
            self.add(_values_of(row))

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

    def __init__(self, session: Session, instance_id: int, responses: Sequence[str]) -> None:
        self.recent = experiences.list_recent_responses(
            session, instance_id, RECENT_RESPONSES_FOR_SIMILARITY
        )
        self._hashes = {text: word_hashes(text) for text in responses}
        candidates = frozenset[int]().union(*self._hashes.values())
        self._seen = set(experiences.find_seen_words(session, instance_id, candidates))
        self.new_words: set[int] = set()

    def new_word_share(self, response: str) -> float | None:
        """Share of distinct words never used before; None for the very first response."""
        if not self.recent and not self._seen:
            return None
        words = self._hashes[response]
        return len(words - self._seen) / len(words) if words else 0.0

    def add(self, response: str) -> None:
        words = self._hashes[response]
        self.new_words |= words - self._seen
        self._seen |= words
        self.recent = [*self.recent, response][-RECENT_RESPONSES_FOR_SIMILARITY:]


def word_hashes(response: str) -> frozenset[int]:
    """Hashes of a response's distinct words."""
    return frozenset(map(word_hash, distinct_words(response)))


@lru_cache(maxsize=1 << 16)
def word_hash(word: str) -> int:
    """A signed 64-bit hash of a word (BLAKE2b), equal on every machine and in every run."""
    digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _judge(
    submission: Submission, sha256: str, *, memory: _Memory, min_salience: float
) -> dict[str, Any]:
    """Score and filter one new exchange; returns the columns of its row."""
    exchange = submission.exchange
    finding = find_collapse(exchange.response, memory.recent)
    if exchange.salience is None:
        salience = score(
            exchange.response,
            tool_uses=[
                ToolUse(name=call.name, is_success=call.success) for call in exchange.tool_calls
            ],
            recent_responses=memory.recent,
            new_word_share=memory.new_word_share(exchange.response),
        )
    else:
        salience = Salience(**{name: getattr(exchange.salience, name) for name in COMPONENTS})
    is_kept_out = is_held_out(sha256)
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
        "id": new_id(),
        "source_id": exchange.source_id,
        "idempotency_key": submission.idempotency_key,
        "content_sha256": sha256,
        "session": exchange.session,
        "session_number": exchange.session_number,
        "phase": exchange.phase,
        "prompt": exchange.prompt,
        "response": exchange.response,
        "history": [turn.model_dump() for turn in exchange.history],
        "system_prompt": exchange.system_prompt,
        "tool_calls": [call.model_dump() for call in exchange.tool_calls],
        "extra": exchange.metadata,
        "occurred_at": exchange.occurred_at,
        **salience.components(),
        "total": salience.total,
        "scorer": SCORER if exchange.salience is None else CALLER_SCORER,
        "status": status.value,
        "reason": reason,
        "similarity": finding.similarity,
        "is_truncated": looks_truncated(exchange.response),
        "is_kept_out": is_kept_out,
        "attempts": 0,
        "erased_at": None,
    }


def _values_of(row: ExperienceRow) -> dict[str, Any]:
    return {attribute.key: getattr(row, attribute.key) for attribute in row.__mapper__.column_attrs}
