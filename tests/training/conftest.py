"""Fixtures of the training tests: the tiny model in memory and a dozen exchanges."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from app.domain.experience import TrainingExchange
from app.domain.plan import TrainingJob
from app.older.buffer import read_experience_buffer
from app.older.examples import read_exchange
from app.training.loading import BaseModel, load_base_model
from tests.training.tiny_jobs import make_tiny_job

HERE = Path(__file__).parent


@pytest.fixture
def tiny_base(tiny_model: Path) -> BaseModel:
    """The tiny model in memory, in fp32, fresh for every test."""
    return load_base_model(str(tiny_model), dtype=torch.float32)


@pytest.fixture(scope="session")
def tokenizer(tiny_model: Path) -> PreTrainedTokenizerBase:
    """The tiny model's tokenizer."""
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(tiny_model))
    return loaded


@pytest.fixture(scope="session")
def buffer_path() -> Path:
    """A dozen exchanges in the older scripts' format; the eleventh reply is cut."""
    return HERE / "experience_buffer.json"


@pytest.fixture(scope="session")
def exchanges(buffer_path: Path) -> tuple[TrainingExchange, ...]:
    """The same exchanges as the trainer receives them."""
    return tuple(read_exchange(record) for record in read_experience_buffer(buffer_path))


@pytest.fixture
def tiny_job(
    tiny_model: Path,
    exchanges: tuple[TrainingExchange, ...],
    kept: Path,
    tmp_path: Path,
) -> TrainingJob:
    """A job of the test's own."""
    output = tmp_path / "adapter"
    output.mkdir()
    return make_tiny_job(tiny_model, exchanges, kept, output)
