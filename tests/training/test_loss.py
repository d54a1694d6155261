"""The loss of supervised tokens equals the plain whole-sequence loss."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional
from transformers import Gemma2Config, Gemma2ForCausalLM, PreTrainedModel

from app.older import RaisingTrainingDataBuilder
from app.training.batches import Batch
from app.training.loading import BaseModel
from app.training.loss import supervised_loss


@pytest.fixture
def batch(buffer_path: Path, tiny_model: Path) -> Batch:
    builder = RaisingTrainingDataBuilder(buffer_path, tiny_model)
    return builder.prepare_batch(builder.build_training_set(min_salience=0.0), 5)[0]


def plain_losses(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Losses (N,) from whole-sequence logits with an explicit attention mask."""
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    labels = batch["labels"][:, 1:]
    losses = functional.cross_entropy(
        logits[:, :-1].float().transpose(1, 2), labels, reduction="none"
    )
    return losses[labels != -100]


def test_losses_equal_those_of_whole_sequence_logits(tiny_base: BaseModel, batch: Batch) -> None:
    with torch.no_grad():
        result = supervised_loss(tiny_base.model, batch)
        expected = plain_losses(tiny_base.model, batch)
    assert torch.allclose(result.nll, expected, atol=1e-5)
    assert torch.allclose(result.total, expected.sum(), rtol=1e-5)


def test_gradient_equals_that_of_whole_sequence_logits(tiny_base: BaseModel, batch: Batch) -> None:
    weights = torch.tensor([0.5, 1.5, 1.0, 0.8, 1.2])
    layer = tiny_base.model.get_parameter("model.layers.0.mlp.up_proj.weight").requires_grad_()
    result = supervised_loss(tiny_base.model, batch, example_weights=weights)
    (gradient,) = torch.autograd.grad(result.total, layer)
    expected_loss = (plain_losses(tiny_base.model, batch) * weights[result.rows]).sum()
    (expected,) = torch.autograd.grad(expected_loss, layer)
    assert torch.allclose(result.total, expected_loss, rtol=1e-5)
    assert torch.allclose(gradient, expected, atol=1e-5, rtol=1e-4)


def test_model_that_changes_its_logits_keeps_its_own_loss(batch: Batch) -> None:
    torch.manual_seed(3)
    config = Gemma2Config(
        vocab_size=49152,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        final_logit_softcapping=0.05,
        attn_logit_softcapping=None,
        sliding_window=4096,
    )
    model = Gemma2ForCausalLM._from_config(config).eval()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        assert torch.allclose(
            supervised_loss(model, batch).nll, plain_losses(model, batch), atol=1e-5
        )
