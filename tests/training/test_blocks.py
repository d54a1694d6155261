"""The hand-written blocks against the model's own forward pass and autograd."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from app.domain.sleep import ALL_LINEAR_MODULES, Recipe
from app.training.batches import Batch
from app.training.chat import IGNORED_LABEL
from app.training.decoder import find_fused_decoder
from app.training.loading import BaseModel
from app.training.lora import attach_adapter, trainable_parameters
from app.training.loss import supervised_loss
from app.training.packing import common_prefix, pack_rows


def make_qwen() -> PreTrainedModel:
    torch.manual_seed(3)
    config = Qwen2Config(
        vocab_size=200, hidden_size=48, intermediate_size=80, num_hidden_layers=3,
        num_attention_heads=6, num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.5)
    return model.requires_grad_(False)


def make_batch(lengths: tuple[int, ...], prefix: int, vocabulary: int = 200) -> Batch:
    """Random rows with a common beginning; the second half of each is supervised."""
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(1, vocabulary, (len(lengths), max(lengths)), generator=generator)
    ids[:, :prefix] = ids[0, :prefix]
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, IGNORED_LABEL)
    for row, length in enumerate(lengths):
        mask[row, :length] = 1
        ids[row, length:] = 0
        labels[row, length // 2 : length] = ids[row, length // 2 : length]
    return Batch(
        input_ids=ids, labels=labels, attention_mask=mask, salience=torch.ones(len(lengths))
    )


def loss_and_gradients(
    model: PreTrainedModel, parameters: list[torch.nn.Parameter], batch: Batch, *, is_fused: bool
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    fused = find_fused_decoder(model) if is_fused else None
    assert (fused is not None) == is_fused
    weights = torch.linspace(0.5, 1.5, len(batch["input_ids"]))
    loss = supervised_loss(model, batch, example_weights=weights, fused=fused)
    (loss.total / len(loss.nll)).backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad.clone() for p in parameters if p.grad is not None]
    for parameter in parameters:
        parameter.grad = None
    return loss.nll, gradients


@pytest.mark.parametrize(
    "modules", [("q_proj", "v_proj"), ("o_proj", "up_proj"), ALL_LINEAR_MODULES]
)
@pytest.mark.parametrize(
    ("lengths", "prefix"), [((40,), 0), ((30, 41, 37), 0), ((50, 61, 37, 70), 36), ((33, 33), 32)]
)
@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_loss_and_gradients_are_the_models_own(
    tiny_base: BaseModel,
    family: str,
    lengths: tuple[int, ...],
    prefix: int,
    modules: tuple[str, ...],
) -> None:
    model = tiny_base.model if family == "llama" else make_qwen()
    recipe = Recipe(r=4, lora_alpha=8, target_modules=modules)
    parameters = trainable_parameters(attach_adapter(model, recipe))
    torch.manual_seed(1)
    for parameter in parameters:
        torch.nn.init.normal_(parameter, std=0.1)
    batch = make_batch(lengths, prefix)
    nll, gradients = loss_and_gradients(model, parameters, batch, is_fused=False)
    fused_nll, fused_gradients = loss_and_gradients(model, parameters, batch, is_fused=True)
    torch.testing.assert_close(fused_nll, nll, rtol=1e-5, atol=1e-5)
    assert len(fused_gradients) == len(gradients) == len(parameters)
    for own, theirs in zip(fused_gradients, gradients, strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-4, atol=1e-5)


def test_bf16_agrees_to_its_noise() -> None:
    model = make_qwen()
    parameters = trainable_parameters(attach_adapter(model, Recipe(r=4)))
    torch.manual_seed(1)
    for parameter in parameters:
        torch.nn.init.normal_(parameter, std=0.05)
    batch = make_batch((50, 61, 37), 33)
    exact, exact_gradients = loss_and_gradients(model, parameters, batch, is_fused=False)
    for parameter in model.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.bfloat16()
    nll, gradients = loss_and_gradients(model, parameters, batch, is_fused=True)
    assert (nll - exact).abs().mean() < 0.05
    for own, theirs in zip(gradients, exact_gradients, strict=True):
        assert own.dtype == torch.float32
        assert torch.cosine_similarity(own.flatten(), theirs.flatten(), dim=0) > 0.99


def test_dropout_and_other_families_keep_the_models_own_pass(
    tiny_base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_fused_decoder(tiny_base.model) is not None
    with monkeypatch.context() as patch:
        patch.setattr(tiny_base.model.config, "model_type", "gemma")
        assert find_fused_decoder(tiny_base.model) is None
    attach_adapter(tiny_base.model, replace(Recipe(), lora_dropout=0.1))
    assert find_fused_decoder(tiny_base.model) is None


def test_other_devices_keep_the_models_own_pass(tiny_base: BaseModel) -> None:
    assert find_fused_decoder(torch.nn.Module.to(tiny_base.model, torch.device("meta"))) is None


def test_rows_are_packed_behind_their_common_prefix() -> None:
    rows = [torch.arange(20), torch.cat((torch.arange(9), torch.arange(50, 56)))]
    packing = pack_rows(rows, multiple=4)
    assert packing.prefix == 8
    assert packing.segments == ((0, 8), (8, 20), (20, 28))
    where = packing.index(torch.tensor([0, 0, 1, 1]), torch.tensor([3, 19, 7, 14]))
    assert packing.input_ids[where].tolist() == [3, 19, 7, 55]
    assert packing.positions[where].tolist() == [3, 19, 7, 14]


def test_a_row_keeps_at_least_its_last_token() -> None:
    assert common_prefix([torch.arange(8), torch.arange(9)], multiple=1) == 7
    assert common_prefix([torch.arange(8)], multiple=1) == 0
