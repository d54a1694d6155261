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

_OLDER_FORMAT = "sage-training-set-1"
"""Of files that hold `{"format", "examples"}`; they are still read."""

_TENSORS = ("input_ids", "labels", "attention_mask")


def save_training_set(examples: Sequence[TrainingExample], output_path: str | Path) -> Path:
    """Write a training set as a .pt file, a list of examples; makes the directory."""
    path = Path(output_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save([dict(example) for example in examples], path)
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
    is_older = isinstance(stored, dict) and stored.get("format") == _OLDER_FORMAT
    examples = stored.get("examples") if is_older else stored
    if not isinstance(examples, list) or not all(_is_example(example) for example in examples):
        raise TrainingSetUnreadable(f"{path} is not a training set: a list of examples")
    return [_completed(example) for example in examples]


def _is_example(stored: Any) -> bool:
    return (
        isinstance(stored, Mapping)
        and all(isinstance(stored.get(name), torch.Tensor) for name in _TENSORS)
        and len({stored[name].shape for name in _TENSORS}) == 1
        and isinstance(stored.get("salience"), int | float)
    )


def _completed(stored: Mapping[str, Any]) -> TrainingExample:
    """An example with what another writer may have left out."""
    return TrainingExample(
        input_ids=stored["input_ids"],
        labels=stored["labels"],
        attention_mask=stored["attention_mask"],
        salience=float(stored["salience"]),
        salience_breakdown=stored.get("salience_breakdown") or {},
        experience_id=str(stored.get("experience_id") or ""),
        session=stored.get("session"),
        phase=stored.get("phase"),
    )
