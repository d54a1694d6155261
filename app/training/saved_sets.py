"""Training sets on disk: tensors and plain values, in a file that no code can run from.

Must not know how a set was built or what it trains.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from app.errors import TrainingSetUnreadable
from app.training.examples import TrainingExample

_FORMAT = "sage-training-set-1"
_TENSORS = ("input_ids", "labels", "attention_mask")


def save_training_set(examples: Sequence[TrainingExample], output_path: str | Path) -> Path:
    """Write a training set as a .pt file of tensors and plain values; makes the directory."""
    path = Path(output_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"format": _FORMAT, "examples": [dict(example) for example in examples]}, path)
    return path


def load_training_set(path: str | Path) -> list[TrainingExample]:
    """Read what `save_training_set` wrote, with `weights_only=True`: no code in it can run.

    Raises:
        TrainingSetUnreadable: Absent, of another shape, or with objects in it.
    """
    try:
        stored = torch.load(path, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise TrainingSetUnreadable(f"{path} is not a saved training set: {error}") from error
    is_ours = isinstance(stored, dict) and stored.get("format") == _FORMAT
    if not is_ours or not all(_is_example(example) for example in stored["examples"]):
        raise TrainingSetUnreadable(f"{path} is not a training set of format {_FORMAT}")
    examples: list[TrainingExample] = stored["examples"]
    return examples


def _is_example(stored: Any) -> bool:
    return (
        isinstance(stored, Mapping)
        and set(stored) == set(TrainingExample.__annotations__)
        and all(isinstance(stored[name], torch.Tensor) for name in _TENSORS)
        and len({stored[name].shape for name in _TENSORS}) == 1
    )
