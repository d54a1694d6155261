"""Erasing: an experience's text leaves its row, then whatever repeats it, then the disk.

A text that was removed from its row is gone for whoever asks; its bytes, in files beside the
database and in its log, are gone after `purge_traces`.

Decided here, since it cannot be undone: which other exchanges lose what is the rule of
`app.domain.erasing`. The content hash of an exchange that lost a part of its history stays that of
what was received, so the same post is known again and brings nothing back. Checkpoints that were
trained on it are marked as those are that were trained on the erased exchange itself: they had the
words in view. A cycle trains with what is left of its history after the removed turns.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy.orm import Session

from app.artifacts import leftovers
from app.db import events, experiences, lineage, quoting, sleep_cycles
from app.db.copies import forget_copies
from app.db.engine import Database
from app.db.tables import CheckpointRow, ExperienceRow
from app.domain.erasing import ErasedWords, Said
from app.domain.events import CheckpointTainted, EventType, ExperienceErased
from app.domain.experience import ExperienceStatus
from app.domain.report import TrainingReport
from app.domain.stored import from_json, to_json
from app.domain.verbatim import without_copies
from app.errors import DatabaseUnavailable, ExperienceInUse
from app.log import get_logger

_log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Erasure:
    """What erasing an experience did.

    Attributes:
        checkpoints: All that learned from it, or from what quoted it, oldest first.
        erased_with: Ids of exchanges that were erased too, since their own words repeated it.
        taken_from: Ids of exchanges that quoted it and do no more.
        repeated_in: Ids of exchanges that still say a part of it, and stay.
    """

    row: ExperienceRow
    checkpoints: Sequence[CheckpointRow]
    erased_with: Sequence[str] = ()
    taken_from: Sequence[str] = ()
    repeated_in: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """What else holds the words: sequence numbers, up to the newest that was looked at."""

    words: ErasedWords
    erased: Collection[int]
    quoting: Collection[int]
    last_seq: int


def erase_experience(db: Database, experience_id: str, *, now: datetime) -> Erasure:
    """Remove an experience's text for good, and every copy of it; twice is the same as once.

    The checkpoints trained on it, and those that went on from them, are marked: their weights
    still hold what they learned. Replies in reports that repeat it word for word go too. What
    stays is hash, scores, provenance, and what a person wrote elsewhere (notes, reasons).

    The instance's texts are read before the transaction that writes, so that no post waits.

    Raises: ExperienceNotFound, ExperienceInUse while a cycle works with it or with what repeats it.
    """
    with db.read() as session:
        row = experiences.get_experience(session, experience_id)
        if row.status == ExperienceStatus.ERASED:
            return _told_again(session, row)
        earlier = _search(session, row.instance_id, ErasedWords(), [_said(row)], after_seq=0)
    with db.write() as session:
        row = experiences.get_experience(session, experience_id)
        if row.status != ExperienceStatus.ERASED:
            return _erase_within(session, row, earlier, now=now)
        return _told_again(session, row)


def purge_traces(db: Database, *, kept_root: Path, snapshots_root: Path) -> bool:
    """Delete what may repeat removed texts, and empty the write-ahead log into the database.

    That is: kept measures of replies, snapshots of cycles that will not go on, and the copies of
    the database that migrations left. Returns whether the log is empty; if not, the daemon tries
    again (`Database.finish_purge`).

    Raises: DiskFull, DirectoryReadOnly.
    """
    leftovers.forget_replies(kept_root)
    try:
        with db.read() as session:
            active = sleep_cycles.list_active_ids(session)
        leftovers.sweep_snapshots(snapshots_root, active)
        if db.path is not None:
            forget_copies(db.path)
        return db.purge()
    except DatabaseUnavailable as error:
        _log.warning("erasure.purge_postponed", code=error.code)
        return False


def _search(
    session: Session,
    instance_id: int,
    words: ErasedWords,
    erased: Sequence[Said],
    *,
    after_seq: int,
) -> _Found:
    """Look for what repeats these, for what repeats that, and then for what quotes any of it."""
    last_seq = quoting.find_last_seq(session, instance_id)
    gone = [it.seq for it in erased]
    while erased:
        others = quoting.stream_said(session, instance_id, after_seq=after_seq)
        erased = words.look(erased, others)
        gone += [it.seq for it in erased]
    quotes = quoting.stream_quoting(session, instance_id, after_seq=after_seq)
    holding = [
        seq for seq, carried in quotes if seq not in gone and words.strip(carried) is not None
    ]
    return _Found(words=words, erased=gone, quoting=holding, last_seq=last_seq)


def _erase_within(
    session: Session, row: ExperienceRow, earlier: _Found, *, now: datetime
) -> Erasure:
    since = _search(
        session, row.instance_id, earlier.words, [_said(row)], after_seq=earlier.last_seq
    )
    erased = experiences.list_by_seqs(session, {*earlier.erased, *since.erased, row.seq})
    erased = [item for item in erased if item.status != ExperienceStatus.ERASED]
    quoted = experiences.list_by_seqs(session, {*earlier.quoting, *since.quoting})
    left = [
        (item, stripped)
        for item in quoted
        if (stripped := earlier.words.strip(quoting.quoting_of(item))) is not None
    ]
    touched = [item.seq for item in (*erased, *(item for item, _ in left))]
    if experiences.is_any_in_active_cycle(session, touched):
        raise ExperienceInUse(
            "A cycle works with this experience, or with one that repeats it; cancel it or wait."
        )
    trained = lineage.list_trained_on(session, touched)
    _clean_reports(session, erased)
    _taint(session, row, trained, now=now)
    for item in erased:
        is_first = item.seq == row.seq
        reason = "erased" if is_first else f"erased: it repeated {row.id}"
        experiences.erase(session, item.seq, reason=reason, now=now)
        events.append_event(
            session,
            type_=EventType.EXPERIENCE_ERASED,
            instance_id=row.instance_id,
            now=now,
            facts=ExperienceErased(
                experience_id=item.id,
                checkpoints=len(lineage.list_trained_on(session, [item.seq])),
                repeated=None if is_first else row.id,
                taken_from=tuple(holder.id for holder, _ in left) if is_first else (),
            ),
        )
    for item, stripped in left:
        quoting.take_out(session, item.seq, stripped)
    repeated = experiences.list_by_seqs(session, earlier.words.repeated_by)
    session.expire_all()
    return Erasure(
        row=experiences.get_experience(session, row.id),
        checkpoints=lineage.list_trained_on(session, touched),
        erased_with=[item.id for item in erased if item.seq != row.seq],
        taken_from=[item.id for item, _ in left],
        repeated_in=[it.id for it in repeated if it.status != ExperienceStatus.ERASED],
    )


def _told_again(session: Session, row: ExperienceRow) -> Erasure:
    """What erasing did before; what still says a part of it is not looked for again."""
    erased_with: list[str] = []
    taken_from: list[str] = []
    for event in events.list_erased(session, row.instance_id, row.id):
        facts = event.facts
        if isinstance(facts, ExperienceErased):
            taken_from += facts.taken_from
            erased_with += [facts.experience_id] if facts.repeated else []
    touched = [row, *experiences.list_by_ids(session, [*erased_with, *taken_from])]
    return Erasure(
        row=row,
        checkpoints=lineage.list_trained_on(session, [item.seq for item in touched]),
        erased_with=erased_with,
        taken_from=taken_from,
    )


def _clean_reports(session: Session, erased: Sequence[ExperienceRow]) -> None:
    """Take word-for-word copies out of what the instance's cycles reported, whoever said it."""
    said = [
        text
        for row in erased
        for text in (row.prompt, row.response, *(str(turn["content"]) for turn in row.history))
    ]
    for holder in lineage.list_quoting_replies(session, erased[0].instance_id):
        if holder.metrics is not None:
            before = to_json(holder.metrics)
            if (cleaned := without_copies(before, said)) != before:
                holder.metrics = from_json(TrainingReport, cleaned)
    session.flush()


def _taint(
    session: Session, row: ExperienceRow, trained: Sequence[CheckpointRow], *, now: datetime
) -> None:
    for checkpoint in trained:
        if checkpoint.tainted_at is None:
            checkpoint.tainted_at = now
            events.append_event(
                session,
                type_=EventType.CHECKPOINT_TAINTED,
                instance_id=row.instance_id,
                cycle_id=checkpoint.cycle_id,
                checkpoint_id=checkpoint.id,
                now=now,
                facts=CheckpointTainted(experience_id=row.id),
            )
    session.flush()


def _said(row: ExperienceRow) -> Said:
    return Said(
        seq=row.seq,
        prompt=row.prompt,
        response=row.response,
        session=row.session,
        system_prompt=row.system_prompt,
    )
