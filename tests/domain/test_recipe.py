"""The recipe: its defaults and ranges, which settings and requests take from it."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from pydantic import ValidationError

from app.domain.recipe import ALL_LINEAR, Recipe
from tests.domain.ranges import TINY, check_range


def test_recipe_by_default_in_the_order_it_is_stored_in() -> None:
    assert list(asdict(Recipe()).items()) == [
        ("epochs", 2),
        ("learning_rate", 4e-4),
        ("batch_size", 4),
        ("r", 16),
        ("lora_alpha", 32),
        ("lora_dropout", 0.0),
        ("target_modules", (ALL_LINEAR,)),
        ("weight_decay", 0.0),
        ("warmup_ratio", 0.1),
        ("max_grad_norm", 1.0),
        ("max_length", 1024),
        ("rehearsal_share", 0.3),
        ("anchor_weight", 1.0),
        ("anchors_per_batch", 2),
        ("anchor_interval", 3),
        ("anchor_identity_share", 0.5),
        ("dreams", 0),
        ("seed", 0),
        ("device", "auto"),
        ("quantization", "auto"),
    ]


@pytest.mark.parametrize(
    ("field", "lowest", "highest"),
    [
        ("epochs", 1, 100),
        ("learning_rate", TINY, 1.0),
        ("batch_size", 1, 256),
        ("r", 1, 512),
        ("lora_alpha", 1, 1024),
        ("weight_decay", 0.0, 1.0),
        ("warmup_ratio", 0.0, 1.0),
        ("max_grad_norm", TINY, None),
        ("max_length", 16, 32_768),
        ("anchor_identity_share", 0.0, 1.0),
        ("rehearsal_share", 0.0, 1.0),
        ("anchor_weight", 0.0, 100.0),
        ("anchors_per_batch", 1, 40),
        ("anchor_interval", 1, 1000),
        ("dreams", 0, 64),
        ("seed", 0, 2**32 - 1),
    ],
)
def test_recipe_takes_what_lies_between_the_ends_of_a_range(
    field: str, lowest: float, highest: float | None
) -> None:
    check_range(Recipe, field, lowest, highest)


def test_lists_of_json_are_read_as_tuples_and_a_wrong_item_is_named() -> None:
    stored = {"target_modules": ["q_proj"], "r": 8}
    recipe = Recipe(**stored)  # type: ignore[arg-type]
    assert recipe.target_modules == ("q_proj",)
    with pytest.raises(ValidationError) as refused:
        Recipe(target_modules=("q_proj", "q proj"))
    (found,) = refused.value.errors()
    assert found["loc"] == ("target_modules", 1)
    with pytest.raises(ValidationError, match="List should have at most 1024 items"):
        Recipe(target_modules=("?",) * 2000)
