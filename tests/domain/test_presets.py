"""Presets: a name lays its fields over a recipe, and single fields lie over the name."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.presets import PRESETS, Preset, lay_over
from app.domain.recipe import Recipe
from app.settings import Settings


def test_gentle_is_the_older_scripts_recipe() -> None:
    gentle = lay_over(Recipe(seed=7), {"preset": "gentle"})
    assert (gentle.r, gentle.lora_alpha, gentle.target_modules) == (4, 8, ("q_proj", "v_proj"))
    assert (gentle.learning_rate, gentle.batch_size, gentle.epochs) == (1e-5, 1, 2)
    assert gentle.anchor_weight == 0.0
    assert gentle.seed == 7


def test_standard_is_the_recipe_without_a_preset() -> None:
    assert lay_over(Recipe(), {"preset": "standard"}) == Recipe()


@given(st.lists(st.sampled_from(list(Preset)), min_size=1, max_size=5))
def test_the_last_preset_takes_every_earlier_one_back(names: list[Preset]) -> None:
    recipe = Recipe()
    for name in names:
        recipe = lay_over(recipe, {"preset": name})
    assert recipe == lay_over(Recipe(), {"preset": names[-1]})


def test_every_preset_names_the_same_fields() -> None:
    assert len({frozenset(fields) for fields in PRESETS.values()}) == 1


def test_single_field_lies_over_the_preset_and_a_list_is_read_as_json_has_it() -> None:
    changes = {"preset": "gentle", "learning_rate": 1e-4, "target_modules": ["k_proj"]}
    recipe = lay_over(Recipe(), changes)
    assert (recipe.learning_rate, recipe.target_modules) == (1e-4, ("k_proj",))
    assert recipe.batch_size == 1


def test_setting_chooses_the_preset_and_single_settings_lie_over_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGE_PRESET", "gentle")
    monkeypatch.setenv("SAGE_EPOCHS", "5")
    recipe = Settings(data_dir=tmp_path).instance_defaults().recipe
    assert recipe == lay_over(Recipe(), {"preset": "gentle", "epochs": 5})
