"""A base model without its weights: what can be said of its layers before it is loaded.

Must not know cycles or exchanges.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, PreTrainedModel
from transformers.quantizers.auto import AutoHfQuantizer

from app.artifacts.bases import find_base_model
from app.domain.fit import FitQuestion
from app.domain.layers import AdaptedLayers
from app.domain.recipe import Recipe
from app.errors import BaseModelNotFound, BaseModelUnsupported
from app.training.layers import BlockLayers, find_layers, find_reached
from app.training.loading import FOREIGN, class_of, foreign_words, without_progress_bars
from app.training.targets import choose_targets, count_changed


def sketch_layers(question: FitQuestion) -> AdaptedLayers:
    """Which layers a new adapter would change.

    Of a mixture of experts it cannot be tried out without weights which layers a text reaches:
    there all count as reached.

    Raises: BaseModelNotFound; BaseModelUnsupported; TargetModulesUnmatched; NoTrainableParameters.
    """
    model = _sketch(find_base_model(question.base_model))
    layers = find_layers(model)
    recipe = Recipe(target_modules=question.target_modules, lora_dropout=question.lora_dropout)
    targets = choose_targets(model, layers, _reached(model, layers), recipe)
    return count_changed(layers, set(layers.names) - set(targets.refused), targets.refused)


def _sketch(path: Path) -> PreTrainedModel:
    try:
        config = AutoConfig.from_pretrained(str(path), local_files_only=True)
        _demand_quantiser(config)
        with torch.device("meta"), without_progress_bars():
            model: PreTrainedModel = class_of(path).from_config(config)
    except FOREIGN as error:
        raise BaseModelNotFound(
            f"{path} does not load as a causal language model: {foreign_words(error)}"
        ) from error
    return model.requires_grad_(False)


def _demand_quantiser(config: Any) -> None:
    """Raise what the loader would, where the package for quantised weights is missing."""
    quantised = getattr(config, "quantization_config", None)
    # One that transformers does not know it leaves alone, with a warning.
    if quantised is not None and _is_known(quantised):
        quantiser = AutoHfQuantizer.from_config(quantised, pre_quantized=True)
        quantiser.validate_environment(device_map=None)


def _is_known(quantised: Any) -> bool:
    found: bool = AutoHfQuantizer.supports_quant_method(quantised)  # type: ignore[no-untyped-call]
    return found


def _reached(model: PreTrainedModel, layers: BlockLayers) -> frozenset[str]:
    try:
        return find_reached(model, layers)
    except BaseModelUnsupported:  # what depends on numbers, and there are none
        return frozenset(layers.names)
