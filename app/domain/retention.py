"""How long things are kept: which checkpoints' files may go, by policy."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from app.domain.experience import ExperienceStatus

EXPIRING_STATUSES = (
    ExperienceStatus.CONSOLIDATED,
    ExperienceStatus.FILTERED,
    ExperienceStatus.BELOW_THRESHOLD,
    ExperienceStatus.QUARANTINED,
)
"""Whose texts go after `retain_text_days`: what waits for a cycle, or measures one, stays. So does
what is below the threshold for another reason than its salience: a cycle set it aside, and a later
one may train it (`app.domain.curation`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredCheckpoint:
    """A checkpoint whose files take room.

    Attributes:
        gain: Fall of the held-out loss in its cycle, nats per token; None where not measured.
        is_ready: Its files are whole.
    """

    id: str
    parent_id: str | None
    is_accepted: bool
    is_pinned: bool
    is_ready: bool
    gain: float | None
    size_bytes: int


def choose_expired(
    stored: Sequence[StoredCheckpoint],
    *,
    in_use: Collection[str],
    retain_checkpoints: int,
) -> list[StoredCheckpoint]:
    """Which checkpoints' files may go, oldest first.

    Kept are those in use, the pinned, the accepted one with the largest held-out gain, the newest
    accepted and, among the newest of all, the rejected; and the parent of each of these, without
    which it could not be reproduced.

    Args:
        stored: All of one instance, oldest first.
        in_use: Ids that an alias names or an active cycle needs.
        retain_checkpoints: How many of the newest stay; 0 for all.
    """
    if retain_checkpoints == 0:
        return []
    ready = [item for item in stored if item.is_ready]
    accepted = [item for item in ready if item.is_accepted]
    kept = {item.id for item in stored if item.is_pinned or item.id in in_use}
    kept |= {item.id for item in (*ready[-retain_checkpoints:], *accepted[-retain_checkpoints:])}
    measured = [item for item in accepted if item.gain is not None]
    if measured:
        kept.add(max(measured, key=lambda item: item.gain or 0.0).id)
    kept |= {item.parent_id for item in stored if item.id in kept and item.parent_id}
    return [item for item in stored if item.id not in kept]
