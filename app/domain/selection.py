"""Which experiences a cycle trains on, rehearses and is measured with.

Where there is more than fits salience chooses what is trained, which is no better than age would
and no worse (the guide's page on the recipe), and lets what is new in. It is trained in the order
of time, so that what corrects an earlier statement is learned after it. Nothing here sees a text:
experiences are ids, hashes and totals, so a selection costs the same however long exchanges are.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.experience import HELD_OUT_ONE_IN

MAX_HELD_OUT = 32
"""Held-out experiences measured per cycle, the newest: cost must not grow with history."""

MIN_HELD_OUT = 4
HELD_OUT_PER_TRAINED = 4
"""One held-out experience for so many trained, and never fewer than `MIN_HELD_OUT`: a yardstick
must not cost more than what it measures. A guess."""

REHEARSAL_CHOICE = 2
"""So many are drawn for each rehearsed experience; the trainer takes those that surprise the model
most.
Measuring one costs a sixth of training on it for two epochs, by arithmetic: forward alone."""

REHEARSAL_POOL_FACTOR = 4
"""Rehearsal is drawn from this many times as many of the most salient consolidated experiences."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selectable:
    """What selection needs to know of an experience; `is_counted` towards the salience mass."""

    seq: int
    id: str
    content_sha256: str
    total: float
    is_counted: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The three lists of a cycle, each in order.

    Attributes:
        rehearsal: The rehearsal pool.
        rehearsal_count: How many of them are rehearsed; None for all.
    """

    train: tuple[Selectable, ...]
    rehearsal: tuple[Selectable, ...]
    held_out: tuple[Selectable, ...]
    rehearsal_count: int | None = None

    @property
    def data_sha256(self) -> str:
        """SHA-256 over role and content hash of every item in order: equal data, equal hash."""
        digest = hashlib.sha256()
        for role, items in (("t", self.train), ("r", self.rehearsal), ("h", self.held_out)):
            for item in items:
                digest.update(f"{role}{item.content_sha256}\n".encode())
        return digest.hexdigest()


def select(
    waiting: Sequence[Selectable],
    *,
    held_out: Sequence[Selectable],
    rehearsal_pool: Sequence[Selectable],
    rehearsal_share: float,
    seed: int,
) -> Selection:
    """Make a selection.

    A young instance may hold out nothing yet. Without a yardstick no gate can judge, so the cycle
    then keeps one in ten of its own experiences back (at least one, spread over their order); these
    are measured with and stay in the buffer.

    Args:
        waiting: Free experiences, as they were chosen.
        held_out: The instance's held-out experiences, newest first; as many of the first are used
            as the cycle's size allows.
        rehearsal_pool: Earlier consolidated experiences.
        rehearsal_share: Rehearsal as a share of the trained experiences, 0..1.
        seed: Of the draw from the pool.
    """
    train = sorted(waiting, key=lambda item: item.seq)
    allowed = max(MIN_HELD_OUT, len(train) // HELD_OUT_PER_TRAINED)
    measured = list(held_out[: min(allowed, MAX_HELD_OUT)])
    if not measured:
        # Of fewer the last, and never the only one.
        kept_back = train[HELD_OUT_ONE_IN - 1 :: HELD_OUT_ONE_IN] or train[1:][-1:]
        measured = kept_back[:MAX_HELD_OUT]
        chosen = {item.seq for item in measured}
        train = [item for item in train if item.seq not in chosen]
    wanted = min(len(rehearsal_pool), round(rehearsal_share * len(train)))
    drawn = min(len(rehearsal_pool), REHEARSAL_CHOICE * wanted)
    rehearsal = random.Random(seed).sample(list(rehearsal_pool), drawn)  # noqa: S311  # no secret
    return Selection(
        train=tuple(train),
        rehearsal=tuple(rehearsal),
        held_out=tuple(measured),
        rehearsal_count=wanted,
    )
