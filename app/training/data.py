"""Training sets: build them from an experience buffer, describe, batch, save and load them.

The daemon's trainer makes its examples with the same `make_example` and `pad_batch`.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import platformdirs
import torch

from app.domain.experience import TrainingExchange
from app.domain.instance import SAGE_SYSTEM_PROMPT
from app.domain.salience import COMPONENTS
from app.errors import NoSupervisedTokens, TrainingSetUnreadable
from app.training.batches import Batch, TrainingExample, pad_batch
from app.training.buffer import read_experience_buffer
from app.training.chat import ChatEncoder
from app.training.loading import load_tokenizer
from app.training.models import fetch_embedded_model

DEFAULT_MIN_SALIENCE = 0.5
DEFAULT_MAX_LENGTH = 1024

_FORMAT = "sage-training-set-1"
_TENSORS = ("input_ids", "labels", "attention_mask")


class TrainingSet(TypedDict):
    """What `create_training_dataset_from_buffer` returns."""

    training_set: list[TrainingExample]
    stats: dict[str, Any]
    builder: RaisingTrainingDataBuilder


class RaisingTrainingDataBuilder:
    """Builds training examples from an experience buffer file.

    Args:
        experience_buffer_path: JSON: a list of records, or `{"experiences": [...]}`.
        model_name: Directory (a tokenizer alone is enough) or hub id in the hub's cache; None for
            the embedded model, fetched into the user's cache at first use.
        system_prompt: Identity prompt in front of every exchange.
        max_length: Tokens per example, at most.

    Raises:
        BaseModelNotFound, ChatTemplateMissing, ModelDownloadFailed: About the tokenizer.
    """

    def __init__(
        self,
        experience_buffer_path: str | Path,
        model_name: str | Path | None = None,
        system_prompt: str = SAGE_SYSTEM_PROMPT,
        *,
        max_length: int = DEFAULT_MAX_LENGTH,
    ) -> None:
        self.experience_buffer_path = Path(experience_buffer_path)
        self.tokenizer = load_tokenizer(
            str(fetch_embedded_model(_user_models()) if model_name is None else model_name)
        )
        self._encoder = ChatEncoder(
            self.tokenizer, system_prompt=system_prompt, max_length=max_length
        )

    def build_training_set(
        self, min_salience: float = DEFAULT_MIN_SALIENCE, max_examples: int | None = None
    ) -> list[TrainingExample]:
        """Encode the exchanges at or above a salience, highest first; ties as in the file.

        Raises:
            InvalidImportFile: The buffer cannot be read.
            ChatTemplateMissing, NoSupervisedTokens: An exchange cannot be encoded.
        """
        records = [
            record
            for record in read_experience_buffer(self.experience_buffer_path)
            if record.exchange.salience.total >= min_salience
        ]
        records.sort(key=lambda record: -record.exchange.salience.total)
        examples = []
        for record in records[:max_examples]:
            example = make_example(record.exchange, self._encoder)
            example["session"] = record.session
            examples.append(example)
        return examples

    def get_stats(self, examples: Sequence[TrainingExample]) -> dict[str, Any]:
        """Describe a training set; see `describe_training_set`."""
        return describe_training_set(examples)

    def prepare_batch(
        self, examples: Sequence[TrainingExample], batch_size: int | None = None
    ) -> Batch:
        """Pad the first `batch_size` examples (None: all) into one batch, int64 (B, T).

        Raises:
            NoSupervisedTokens: There is no example.
        """
        chosen = examples[:batch_size]
        if not chosen:
            raise NoSupervisedTokens("a batch needs at least one example")
        return pad_batch(chosen, pad_token_of(self.tokenizer))

    def save_training_set(
        self, examples: Sequence[TrainingExample], output_path: str | Path
    ) -> Path:
        """Write a training set; see the function of the same name."""
        return save_training_set(examples, output_path)

    def load_training_set(self, path: str | Path) -> list[TrainingExample]:
        """Read a training set; see the function of the same name."""
        return load_training_set(path)


def create_training_dataset_from_buffer(
    buffer_path: str | Path,
    min_salience: float = DEFAULT_MIN_SALIENCE,
    output_path: str | Path | None = None,
    *,
    model_name: str | Path | None = None,
    system_prompt: str = SAGE_SYSTEM_PROMPT,
    max_examples: int | None = None,
) -> TrainingSet:
    """Build a training set from a buffer file in one call, and write it where a path is given.

    Raises:
        InvalidImportFile: The buffer cannot be read.
        BaseModelNotFound, ChatTemplateMissing, ModelDownloadFailed: About the tokenizer.
    """
    builder = RaisingTrainingDataBuilder(
        experience_buffer_path=buffer_path, model_name=model_name, system_prompt=system_prompt
    )
    examples = builder.build_training_set(min_salience=min_salience, max_examples=max_examples)
    if output_path is not None:
        save_training_set(examples, output_path)
    return TrainingSet(
        training_set=examples, stats=describe_training_set(examples), builder=builder
    )


def make_example(exchange: TrainingExchange, encoder: ChatEncoder) -> TrainingExample:
    """Encode one exchange. Raises: ChatTemplateMissing, NoSupervisedTokens."""
    encoded = encoder.encode(exchange)
    input_ids = torch.tensor(encoded.input_ids)
    return TrainingExample(
        input_ids=input_ids,
        labels=torch.tensor(encoded.labels),
        attention_mask=torch.ones_like(input_ids),
        salience=exchange.salience.total,
        salience_breakdown=exchange.salience.components(),
        experience_id=exchange.experience_id,
        session=exchange.session,
        phase=exchange.phase,
    )


def describe_training_set(examples: Sequence[TrainingExample]) -> dict[str, Any]:
    """Numbers of a training set, all 0 for an empty one.

    `num_examples`, `avg_salience`, `min_salience`, `max_salience`, `avg_length_tokens`,
    `min_length_tokens`, `max_length_tokens`, `salience_breakdown` (mean of each component) and
    `session_distribution` (examples by session).
    """
    count = len(examples)
    saliences = [example["salience"] for example in examples]
    lengths = [len(example["input_ids"]) for example in examples]
    return {
        "num_examples": count,
        "avg_salience": _mean(saliences),
        "min_salience": min(saliences, default=0.0),
        "max_salience": max(saliences, default=0.0),
        "avg_length_tokens": _mean(lengths),
        "min_length_tokens": min(lengths, default=0),
        "max_length_tokens": max(lengths, default=0),
        "salience_breakdown": {
            name: _mean([example["salience_breakdown"][name] for example in examples])
            for name in COMPONENTS
        },
        "session_distribution": dict(Counter(example["session"] for example in examples)),
    }


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


def pad_token_of(tokenizer: Any) -> int:
    """The pad token's id; `load_tokenizer` has made sure that there is one."""
    return int(tokenizer.pad_token_id)


def _is_example(stored: Any) -> bool:
    return (
        isinstance(stored, Mapping)
        and set(stored) == set(TrainingExample.__annotations__)
        and all(isinstance(stored[name], torch.Tensor) for name in _TENSORS)
        and len({stored[name].shape for name in _TENSORS}) == 1
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _user_models() -> Path:
    return platformdirs.user_cache_path("sage-sleep") / "models"
