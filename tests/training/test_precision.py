"""The fp32 forward pass of a bf16 model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from app.older import RaisingTrainingDataBuilder
from app.training.evaluate import token_log_probabilities
from app.training.loading import load_base_model
from app.training.precision import fp32_forward


def test_it_computes_what_an_fp32_model_computes(tiny_model: Path, buffer_path: Path) -> None:
    examples = RaisingTrainingDataBuilder(buffer_path, tiny_model).build_training_set(0.0)
    narrow = load_base_model(str(tiny_model), dtype=torch.bfloat16)
    wide = load_base_model(str(tiny_model), dtype=torch.bfloat16)
    wide.model.to(torch.float32)  # type: ignore[arg-type]
    rough = token_log_probabilities(narrow, examples)
    with fp32_forward(narrow.model):
        exact = token_log_probabilities(narrow, examples, by_hand=False)
    expected = token_log_probabilities(wide, examples)
    assert torch.allclose(exact, expected, atol=1e-4)
    assert not torch.allclose(rough, expected, atol=1e-4)
    assert torch.equal(token_log_probabilities(narrow, examples), rough)
    assert {p.dtype for p in narrow.model.parameters()} == {torch.bfloat16}


def test_weights_come_back_after_an_error(tiny_model: Path) -> None:
    base = load_base_model(str(tiny_model), dtype=torch.bfloat16)
    with fp32_forward(base.model), pytest.raises(IndexError):
        base.model(input_ids=torch.tensor([[10**6]]))
    with fp32_forward(base.model), pytest.raises(RuntimeError):
        base.model.get_submodule("model.layers.0.mlp.up_proj")(torch.ones(1, 3))
    assert {p.dtype for p in base.model.parameters()} == {torch.bfloat16}
