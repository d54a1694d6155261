"""What a checkpoint is: its names, its files, and the aliases that may point at it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

ADAPTER_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
MANIFEST_FILE = "manifest.json"


class Alias(StrEnum):
    """A movable name for a checkpoint."""

    CURRENT = "current"
    PREVIOUS = "previous"
    CANDIDATE = "candidate"


class AliasAction(StrEnum):
    """Why an alias moved."""

    PROMOTE = "promote"
    ROLLBACK = "rollback"
    PROPOSE = "propose"
    DISMISS = "dismiss"


class CheckpointStatus(StrEnum):
    """Whether a checkpoint's files can be served; those of a damaged one are gone or altered."""

    READY = "ready"
    DAMAGED = "damaged"
    DELETED = "deleted"


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointFile:
    """One file of a checkpoint, by plain name."""

    name: str
    size_bytes: int
    sha256: str


def checkpoint_name(instance: str, cycle_number: int, checkpoint_id: str) -> str:
    """`<instance>/<cycle number>-<ulid>`: the directory below the checkpoint root; never reused."""
    return f"{instance}/{cycle_number}-{checkpoint_id}"


def promotion_line(moves: Sequence[tuple[AliasAction, str | None]]) -> list[str | None]:
    """Replay the moves of `current`, oldest first, into the line that rollback walks back.

    The line starts with None, the bare base model. A promotion goes one further, a rollback one
    back, so rolling back again and again retraces every promotion that still stands.

    Args:
        moves: Action and target of each move.

    Returns:
        Where `current` stood before, oldest first, ending with where it stands now.
    """
    line: list[str | None] = [None]
    for action, target in moves:
        if action is AliasAction.PROMOTE:
            line.append(target)
        elif action is AliasAction.ROLLBACK:
            line = line[:-1] or [None]
            while len(line) > 1 and line[-1] != target:
                line.pop()
    return line


def rollback_targets(
    line: Sequence[str | None], unfit: Collection[str]
) -> tuple[str | None, str | None] | None:
    """Where a rollback leads, and what is `previous` then; None when there is nowhere to go.

    Args:
        line: As `promotion_line` gives it, ending with where `current` stands.
        unfit: Checkpoints that must not go live: deleted ones, and those live reports took back.
    """
    earlier = _drop_last(line, unfit)
    if not earlier:
        return None
    return earlier[-1], (_drop_last(earlier, unfit) or [None])[-1]


def _drop_last(line: Sequence[str | None], unfit: Collection[str]) -> list[str | None]:
    """What is left of a line without its end, without what is unfit, up to another checkpoint."""
    earlier = [item for item in line[:-1] if item is None or item not in unfit]
    while earlier and earlier[-1] == line[-1]:
        earlier.pop()
    return earlier
