"""An experience: one exchange with its salience, its status and where it may go.

buffered -> claimed -> consolidated      held_out (by hash, 1 in 10; never trained on)
   ^          |  released when a cycle fails, is rejected or is cancelled;
   +----------+  quarantined after `MAX_ATTEMPTS` attempts
below_threshold   filtered(reason)   set_aside(reason)   erased (text removed, hash kept)

`below_threshold` may be trained, and does not count towards the salience mass: too little salience,
more of one prompt than a cycle takes, or a near copy of what was trained (`app.domain.curation`).
`filtered` is never trained: what the collapse filter refused. `set_aside` is what a cycle could not
put before its model: the chat template refuses it, or it does not fit; another base model, or more
room, gives it back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from app.domain.salience import Salience

HELD_OUT_ONE_IN = 10
MAX_ATTEMPTS = 3
"""Cycles an experience may fail or be rejected in before it is quarantined."""


class ExperienceStatus(StrEnum):
    """Where an experience stands; every accepted exchange has one, so that it can be audited."""

    BUFFERED = "buffered"
    CLAIMED = "claimed"
    CONSOLIDATED = "consolidated"
    HELD_OUT = "held_out"
    BELOW_THRESHOLD = "below_threshold"
    FILTERED = "filtered"
    QUARANTINED = "quarantined"
    SET_ASIDE = "set_aside"
    ERASED = "erased"


COUNTED_STATUSES = frozenset(ExperienceStatus) - {
    ExperienceStatus.FILTERED,
    ExperienceStatus.BELOW_THRESHOLD,
    ExperienceStatus.ERASED,
}
"""Statuses of what entered the buffer or the held-out tenth, and whatever became of it there."""


class CycleRole(StrEnum):
    """What an experience was to a cycle."""

    TRAIN = "train"
    REHEARSAL = "rehearsal"
    HELD_OUT = "held_out"
    SET_ASIDE = "set_aside"


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One earlier turn of the conversation."""

    role: str
    content: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Lesson:
    """What a teacher asked and answered about what an exchange tells; see `app.domain.lessons`.

    Attributes:
        teacher: The name of the model that wrote it.
        cycle: Number of the instance's cycle that asked for it.
    """

    question: str
    answer: str
    teacher: str
    cycle: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingExchange:
    """An experience on its way into training or evaluation.

    Attributes:
        experience_id: ULID in the daemon; any string for imported buffers.
        system_prompt: The exchange's own; None for the instance's.
        is_truncated: The reply was cut, so its end of turn is not a training target.
    """

    experience_id: str
    prompt: str
    response: str
    salience: Salience
    history: tuple[Turn, ...] = ()
    system_prompt: str | None = None
    session: str | None = None
    phase: str | None = None
    is_truncated: bool = False
    role: CycleRole = CycleRole.TRAIN
    metadata: Mapping[str, Any] = field(default_factory=dict)
    lessons: tuple[Lesson, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Unfit:
    """An experience that a cycle could not put before its model, and why.

    Attributes:
        code: As of an error: `chat-template-refuses`, `exchange-too-long`, `no-supervised-tokens`.
        text: In words, without a word of the exchange's own.
    """

    experience_id: str
    code: str
    text: str


def content_hash(prompt: str, response: str, history: Sequence[tuple[str, str]] = ()) -> str:
    """SHA-256 over prompt, response and, where there is one, the history; hex.

    The same words after other words are another exchange. A length before each text tells
    ('a', 'bc') from ('ab', 'c').

    Args:
        history: Earlier turns, role and content, oldest first.
    """
    encoded = prompt.encode()
    digest = hashlib.sha256(len(encoded).to_bytes(8, "big"))
    digest.update(encoded)
    digest.update(response.encode())
    if history:
        # One digest in another keeps what has no history the hash that it always had.
        digest = hashlib.sha256(digest.digest())
        for text in (part for turn in history for part in turn):
            encoded = text.encode()
            digest.update(len(encoded).to_bytes(8, "big"))
            digest.update(encoded)
    return digest.hexdigest()


def is_held_out(content_sha256: str) -> bool:
    """Whether an exchange falls into the tenth that is kept for evaluation and never trained on.

    Args:
        content_sha256: Of prompt and response alone, whatever stood before them.
    """
    return int(content_sha256[:8], 16) % HELD_OUT_ONE_IN == 0


def status_at_ingest(
    *, salience: Salience, is_filtered: bool, is_kept_out: bool, min_salience: float
) -> ExperienceStatus:
    """The first status of an experience.

    A collapsed reply is no yardstick, so the filter goes before the held-out tenth; the tenth is
    drawn regardless of salience among the rest that would count.
    """
    if is_filtered:
        return ExperienceStatus.FILTERED
    if salience.total < min_salience:
        return ExperienceStatus.BELOW_THRESHOLD
    return ExperienceStatus.HELD_OUT if is_kept_out else ExperienceStatus.BUFFERED
