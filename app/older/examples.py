"""Training examples from a buffer file: `RaisingTrainingDataBuilder` and what goes with it.

The examples and batches are those that the daemon trains with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import platformdirs
from transformers import PreTrainedTokenizerBase

from app.domain.completeness import is_cut
from app.domain.experience import TrainingExchange, Turn, content_hash
from app.domain.instance import SAGE_SYSTEM_PROMPT
from app.domain.salience import COMPONENTS, Salience
from app.errors import ExchangeUnfit
from app.log import get_logger
from app.older.buffer import (
    check_record,
    components_of,
    default_buffer_path,
    read_experience_buffer,
    total_of,
)
from app.training.batches import Batch, pad_batch
from app.training.chat import ChatEncoder
from app.training.examples import TrainingExample, make_example
from app.training.fetching import fetch_embedded_model
from app.training.loading import load_tokenizer, pad_token_of
from app.training.saved_sets import load_training_set, save_training_set

DEFAULT_MIN_SALIENCE = 0.5
DEFAULT_MAX_LENGTH = 1024

_log = get_logger(__name__)


class TrainingSet(TypedDict):
    """What `create_training_dataset_from_buffer` returns."""

    training_set: list[TrainingExample]
    stats: dict[str, Any]
    builder: RaisingTrainingDataBuilder


class RaisingTrainingDataBuilder:
    """Builds training examples from an experience buffer file.

    Args:
        experience_buffer_path: JSON: a list of records, or `{"experiences": [...]}`; one that is
            absent is empty. None for `default_buffer_path()`.
        model_name: Directory (a tokenizer alone is enough) or hub id in the hub's cache; None for
            the embedded model, fetched into the user's cache when it is first needed.
        system_prompt: Identity prompt in front of every exchange.
        max_length: Tokens per example, at most.

    Attributes:
        buffer_path: Where the records came from.
        experiences: The records, in the order of the file.

    Raises:
        InvalidImportFile: The buffer cannot be read.
        BaseModelNotFound, ChatTemplateMissing: About the tokenizer that was named.
    """

    def __init__(
        self,
        experience_buffer_path: str | Path | None = None,
        model_name: str | Path | None = None,
        system_prompt: str = SAGE_SYSTEM_PROMPT,
        *,
        max_length: int = DEFAULT_MAX_LENGTH,
    ) -> None:
        self.buffer_path = Path(experience_buffer_path or default_buffer_path())
        self.experiences: list[dict[str, Any]] = read_experience_buffer(self.buffer_path)
        self.system_prompt = system_prompt
        self.max_length = max_length
        self._model_name = model_name
        if model_name is not None:
            _ = self.tokenizer  # a wrong name is said here

    @property
    def experience_buffer_path(self) -> Path:
        """Where the records came from, by the name of the argument."""
        return self.buffer_path

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's; raises as the class says, and ModelDownloadFailed."""
        name = self._model_name
        return load_tokenizer(str(fetch_embedded_model(_user_models()) if name is None else name))

    @cached_property
    def _encoder(self) -> ChatEncoder:
        return ChatEncoder(
            self.tokenizer, system_prompt=self.system_prompt, max_length=self.max_length
        )

    def build_example(
        self, experience: Mapping[str, Any], include_system: bool = True
    ) -> TrainingExample:
        """Encode one record of the buffer.

        Args:
            include_system: Whether the identity prompt stands in front of it.

        Raises:
            InvalidImportFile: The record lacks what training needs.
            ExchangeUnfit: The template or the length cannot hold it.
        """
        check_record(experience, 0)
        example = make_example(
            read_exchange(experience, include_system=include_system), self._encoder
        )
        # As they stand in the file: a total that is not the mean, a session that is a number.
        example["salience"] = total_of(experience)
        example["session"] = experience.get("session")
        return example

    def build_training_set(
        self, min_salience: float = DEFAULT_MIN_SALIENCE, max_examples: int | None = None
    ) -> list[TrainingExample]:
        """Encode the records at or above a salience, highest first; ties as in the file.

        What cannot be encoded is left out, and named in the log.
        """
        chosen = [record for record in self.experiences if total_of(record) >= min_salience]
        chosen.sort(key=lambda record: -total_of(record))
        examples: list[TrainingExample] = []
        for record in chosen:
            if len(examples) == max_examples:
                break
            try:
                examples.append(self.build_example(record))
            except ExchangeUnfit as error:
                _log.warning("experience.unfit", id=record.get("id"), code=error.code)
        return examples

    def get_stats(self, examples: Sequence[TrainingExample]) -> dict[str, Any]:
        """Describe a training set; see `describe_training_set`."""
        return describe_training_set(examples)

    def prepare_batch(
        self, examples: Sequence[TrainingExample], batch_size: int = 1
    ) -> list[Batch]:
        """Pad the examples into batches of so many, in their order; int64 (B, T), salience (B,)."""
        return [
            pad_batch(examples[start : start + batch_size], pad_token_of(self.tokenizer))
            for start in range(0, len(examples), batch_size)
        ]

    def save_training_set(
        self, examples: Sequence[TrainingExample], output_path: str | Path
    ) -> Path:
        """Write a training set; see the function of the same name."""
        return save_training_set(examples, output_path)

    def load_training_set(self, path: str | Path) -> list[TrainingExample]:
        """Read a training set; see the function of the same name."""
        return load_training_set(path)


def create_training_dataset_from_buffer(
    buffer_path: str | Path | None = None,
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


def read_exchange(record: Mapping[str, Any], *, include_system: bool = True) -> TrainingExchange:
    """A checked record as training takes it; without the identity prompt if so asked."""
    response = record["response"]
    session = record.get("session")
    return TrainingExchange(
        experience_id=str(record.get("id") or content_hash(record["prompt"], response)[:16]),
        prompt=record["prompt"],
        response=response,
        salience=Salience(**components_of(record)),
        history=tuple(
            Turn(role=str(turn["role"]), content=str(turn["content"]))
            for turn in record.get("history") or ()
        ),
        system_prompt=None if include_system else "",
        session=None if session is None else str(session),
        phase=record.get("phase"),
        is_truncated=is_cut(response, record.get("finish_reason")),
        metadata=record.get("metadata") or {},
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _user_models() -> Path:
    return platformdirs.user_cache_path("sage-sleep") / "models"
