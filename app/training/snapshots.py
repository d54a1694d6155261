"""A training that is under way, on disk: adapter, optimiser, random state and position.

    <path>   one safetensors file; replaced as a whole, so that it is never half of anything

A training goes on from its snapshot to the same adapter, byte for byte, as one that was never
interrupted (on a CPU): what a step works on is a function of its number (`app.training.schedule`),
and all else that it changes stands here. No text of any experience does. Must not know models,
epochs or what the tensors are.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

_FORMAT = "sage-training-snapshot-1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """What was kept: tensors by name, and plain JSON values."""

    tensors: Mapping[str, torch.Tensor]
    facts: Mapping[str, Any]


class SnapshotFile:
    """Where one training keeps its snapshot.

    Args:
        path: The file; its directory is made when absent.
        key: Everything that the training's result depends on, hashed. A snapshot with another key
            belongs to another training and is not found.
        interval_seconds: Time between two snapshots; 0 keeps one after every step.
    """

    def __init__(self, path: Path, *, key: str, interval_seconds: float) -> None:
        self._path = path
        self._key = key
        self._interval_seconds = interval_seconds
        self._kept_at = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether the interval has passed."""
        return time.monotonic() - self._kept_at >= self._interval_seconds

    def find(self) -> Snapshot | None:
        """The snapshot of this training; None where there is none, or one that cannot be read."""
        try:
            with safe_open(str(self._path), framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != _FORMAT or metadata.get("key") != self._key:
                    return None
                return Snapshot(
                    tensors={name: file.get_tensor(name) for name in file.keys()},  # noqa: SIM118
                    facts=json.loads(metadata["facts"]),
                )
        except (OSError, SafetensorError, ValueError, KeyError):
            return None

    def keep(self, snapshot: Snapshot) -> None:
        """Write and rename. A full disk loses the shortcut, not the training."""
        # Before the writing: on a disk that fails, training is not held up at every step.
        self._kept_at = time.monotonic()
        staged = self._path.with_name(f".{self._path.name}.part")
        metadata = {"format": _FORMAT, "key": self._key, "facts": json.dumps(snapshot.facts)}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            save_file(dict(snapshot.tensors), str(staged), metadata=metadata)
            # safetensors closes its file unsynced; any handle syncs what was written.
            with staged.open("rb") as file:
                os.fsync(file.fileno())
            staged.replace(self._path)
        except (OSError, SafetensorError):
            with contextlib.suppress(OSError):
                staged.unlink(missing_ok=True)
