"""The older scripts' classes and functions by one import, over the client and the training.

    from app.older import ExperienceCollector, RaisingTrainingDataBuilder, SleepTrainingLoop

The examples, the batches and the loop are those that the daemon trains with; what stands here is
the older scripts' own: names, buffer files, statistics. The daemon imports nothing of it. It
brings torch along; a session that only collects imports `app.client`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import platformdirs

from app.buffer_file import read_records
from app.client import ExperienceCollector
from app.domain.completeness import is_cut
from app.domain.experience import TrainingExchange
from app.domain.instance import SAGE_SYSTEM_PROMPT
from app.domain.salience import COMPONENTS, Salience
from app.errors import InvalidImportFile, NoSupervisedTokens
from app.training.batches import Batch, pad_batch
from app.training.chat import ChatEncoder
from app.training.examples import TrainingExample, make_example
from app.training.fetching import fetch_embedded_model
from app.training.loading import load_tokenizer, pad_token_of
from app.training.loop import SleepTrainingLoop
from app.training.saved_sets import load_training_set, save_training_set

__all__ = [
    "BufferedExperience",
    "ExperienceCollector",
    "RaisingTrainingDataBuilder",
    "SleepTrainingLoop",
    "TrainingSet",
    "create_training_dataset_from_buffer",
    "describe_training_set",
    "load_training_set",
    "read_experience_buffer",
    "save_training_set",
]

DEFAULT_MIN_SALIENCE = 0.5
DEFAULT_MAX_LENGTH = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class BufferedExperience:
    """One record of the file; `session` as it stands there, a number as a rule."""

    exchange: TrainingExchange
    session: int | str | None


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


def read_experience_buffer(path: Path) -> list[BufferedExperience]:
    """Read a list of records, or `{"experiences": [...]}`, in the order of the file.

    Raises:
        InvalidImportFile: Unreadable, no JSON, or a record without what training needs; the
            message and `facts["index"]` name the first bad one.
    """
    return [_read_record(record, index) for index, record in enumerate(read_records(path))]


def _read_record(record: Any, index: int) -> BufferedExperience:
    if not isinstance(record, dict):
        raise _broken(index, "is not an object")
    session = record.get("session")
    if isinstance(session, bool) or not isinstance(session, int | str | None):
        raise _broken(index, "has a session that is neither a number nor text")
    response = _text(record, "response", index)
    metadata = record.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise _broken(index, "has metadata that are no object")
    phase = record.get("phase")
    if not isinstance(phase, str | None):
        raise _broken(index, "has a phase that is no text")
    exchange = TrainingExchange(
        experience_id=str(record.get("id") or index),
        prompt=_text(record, "prompt", index),
        response=response,
        salience=_read_salience(record.get("salience"), index),
        session=None if session is None else str(session),
        phase=phase,
        is_truncated=is_cut(response, None),
        metadata=metadata,
    )
    return BufferedExperience(exchange=exchange, session=session)


def _text(record: Mapping[str, Any], name: str, index: int) -> str:
    value = record.get(name)
    if not isinstance(value, str) or not value.strip():
        raise _broken(index, f"has no {name}")
    return value


def _read_salience(stored: Any, index: int) -> Salience:
    if not isinstance(stored, dict):
        raise _broken(index, "has no salience")
    components: dict[str, float] = {}
    for name in COMPONENTS:
        value = stored.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise _broken(index, f"has no salience.{name} in 0..1")
        components[name] = float(value)
    return Salience(**components)


def _broken(index: int, what: str) -> InvalidImportFile:
    return InvalidImportFile(f"record {index} {what}", pointer=f"/{index}", index=index)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _user_models() -> Path:
    return platformdirs.user_cache_path("sage-sleep") / "models"
