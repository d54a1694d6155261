"""How far a training moved the layers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from app.domain.recipe import Recipe
from app.training.loading import BaseModel
from app.training.lora import attach_adapter, continue_adapter, detach_adapter, save_adapter
from app.training.update_norm import update_norm

RECIPE = Recipe(r=2, lora_alpha=4, target_modules=("q_proj", "down_proj"))


def shake(adapted: torch.nn.Module, size: float) -> None:
    """Move every parameter of the adapter at random."""
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if ".lora_" in name:
                parameter.add_(size * torch.randn_like(parameter))


def relative_updates(base: BaseModel, products: dict[str, torch.Tensor]) -> list[float]:
    weights = dict(base.model.named_parameters())
    return [
        float(torch.linalg.matrix_norm(product, 2))
        / float(torch.linalg.matrix_norm(weights[f"{name}.base_layer.weight"], 2))
        for name, product in products.items()
    ]


def products(base: BaseModel) -> dict[str, torch.Tensor]:
    """(alpha / r) B A of every adapted layer, by the layer's name."""
    found = {}
    for name, module in base.model.named_modules():
        if name.endswith(("q_proj", "down_proj")):
            a, b = module.lora_A["default"].weight, module.lora_B["default"].weight
            found[name] = 2 * (b @ a).detach()
    return found


def test_new_adapter_has_moved_nothing(tiny_base: BaseModel) -> None:
    assert update_norm(attach_adapter(tiny_base.model, RECIPE).adapted, None) == 0.0


def test_it_is_the_largest_singular_value_against_the_layers_own(tiny_base: BaseModel) -> None:
    adapted = attach_adapter(tiny_base.model, RECIPE).adapted
    shake(adapted, 0.1)
    expected = max(relative_updates(tiny_base, products(tiny_base)))
    assert update_norm(adapted, None) == pytest.approx(expected, rel=0.05)


def test_only_what_came_since_the_parent_counts(tiny_base: BaseModel, tmp_path: Path) -> None:
    adapted = attach_adapter(tiny_base.model, RECIPE).adapted
    shake(adapted, 0.1)
    save_adapter(adapted, tmp_path, base_name="tiny")
    before = products(tiny_base)
    detach_adapter(adapted)
    adapted = continue_adapter(tiny_base.model, tmp_path, seed=0).adapted
    assert update_norm(adapted, tmp_path) == pytest.approx(0.0, abs=1e-6)
    shake(adapted, 0.01)
    moved = {name: now - before[name] for name, now in products(tiny_base).items()}
    expected = max(relative_updates(tiny_base, moved))
    assert update_norm(adapted, tmp_path) == pytest.approx(expected, rel=0.05)
    assert update_norm(adapted, None) > 2 * expected
