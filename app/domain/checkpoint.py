"""What a checkpoint is: its names, its manifest, and the aliases that may point at it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

ADAPTER_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
MANIFEST_FILE = "manifest.json"
MANIFEST_FORMAT = 1

SPOKEN_METRICS = frozenset({"replies"})
"""Measurements that quote a model's replies. They stay out of the manifest, which never changes: a
reply may repeat an experience that is erased later."""


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

    def to_json(self) -> dict[str, Any]:
        """The file as manifest, row and REST show it."""
        return {"name": self.name, "size_bytes": self.size_bytes, "sha256": self.sha256}


def checkpoint_name(instance: str, cycle_number: int, checkpoint_id: str) -> str:
    """`<instance>/<cycle number>-<ulid>`: the directory below the checkpoint root; never reused."""
    return f"{instance}/{cycle_number}-{checkpoint_id}"


def build_manifest(
    *,
    checkpoint_id: str,
    name: str,
    instance: str,
    cycle_id: str,
    cycle_number: int,
    base_model: str,
    base_sha256: str,
    parent_checkpoint_id: str | None,
    plan: Mapping[str, Any],
    metrics: Mapping[str, Any],
    verdict: Mapping[str, Any],
    versions: Mapping[str, str],
    created_at: str,
    files: Sequence[CheckpointFile],
) -> dict[str, Any]:
    """Everything about a checkpoint that must travel with its files; `files` leaves itself out."""
    return {
        "format": MANIFEST_FORMAT,
        "id": checkpoint_id,
        "name": name,
        "instance": instance,
        "cycle": {"id": cycle_id, "number": cycle_number},
        "base_model": {"name": base_model, "revision": base_sha256},
        "parent": parent_checkpoint_id,
        "plan": dict(plan),
        "data_sha256": plan["data_sha256"],
        "experience_ids": {
            "train": list(plan["experience_ids"]),
            "rehearsal": list(metrics["rehearsed_ids"]),
            "held_out": list(plan["held_out_ids"]),
        },
        "metrics": {name: value for name, value in metrics.items() if name not in SPOKEN_METRICS},
        "verdict": dict(verdict),
        "versions": dict(versions),
        "created_at": created_at,
        "files": {
            file.name: {"size_bytes": file.size_bytes, "sha256": file.sha256} for file in files
        },
    }


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
