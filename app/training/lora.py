"""Attach, continue, save and read back LoRA adapters on a frozen base.

peft puts its layers into the base model in place: the causal LM that was passed in is the adapted
one from then on, until `detach_adapter`.

    y = W0 x + (alpha / r) B A x        (Hu et al. 2021, arXiv:2106.09685)

The base stays in its own dtype, the adapter in fp32: an update of 2e-4 is lost in bf16's 8 bits.
Must not know training data or the order of a cycle.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import PreTrainedModel

from app.domain.checkpoint import ADAPTER_FILE, CONFIG_FILE
from app.domain.recipe import Recipe
from app.errors import BaseModelMismatch, CheckpointFilesMissing, NoTrainableParameters

ADAPTER_NAME = "default"


def attach_adapter(model: PreTrainedModel, recipe: Recipe) -> PeftModel:
    """Attach a new adapter; B is zero, so that nothing changes until it is trained.

    Sets torch's global seed to `recipe.seed` first, because A is drawn at once.

    Raises:
        NoTrainableParameters: `target_modules` name no layer of the model.
    """
    torch.manual_seed(recipe.seed)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=recipe.r,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        target_modules=list(recipe.target_modules),
    )
    try:
        with _without_deprecations():
            adapted = get_peft_model(model, config, adapter_name=ADAPTER_NAME)
    except ValueError as error:  # peft: "Target modules ... not found in the base model"
        raise NoTrainableParameters(
            f"target_modules {', '.join(recipe.target_modules)}: {error}"
        ) from error
    _demand_trainable(adapted)
    return adapted


def continue_adapter(model: PreTrainedModel, directory: Path, *, seed: int) -> PeftModel:
    """Load an adapter to train it further. Its own r, alpha and target modules hold.

    Raises:
        CheckpointFilesMissing: The directory holds no adapter.
        BaseModelMismatch: The adapter's shapes do not fit the model.
        NoTrainableParameters: It came frozen.
    """
    torch.manual_seed(seed)
    # PEFT's default loads an adapter frozen; training then runs, and changes nothing.
    adapted = read_adapter(model, directory, is_trainable=True)
    _demand_trainable(adapted)
    return adapted


def read_adapter(model: PreTrainedModel, directory: Path, *, is_trainable: bool) -> PeftModel:
    """`PeftModel.from_pretrained`, as any user of a checkpoint would call it.

    Raises:
        CheckpointFilesMissing: The directory holds no adapter.
        BaseModelMismatch: The adapter's shapes do not fit the model.
    """
    for name in (CONFIG_FILE, ADAPTER_FILE):
        if not (directory / name).is_file():
            raise CheckpointFilesMissing(f"{directory} holds no {name}")
    try:
        with _without_deprecations():
            return PeftModel.from_pretrained(model, str(directory), is_trainable=is_trainable)
    except (RuntimeError, ValueError) as error:  # shapes differ; target modules not in the model
        raise BaseModelMismatch(f"the adapter in {directory} does not fit: {error}") from error


def detach_adapter(adapted: PeftModel) -> None:
    """Take the adapter off again; the base is as it was, bit for bit, since nothing was merged."""
    model = adapted.unload()
    if hasattr(model, "peft_config"):
        del model.peft_config  # peft warns about a second adapter where this one is left behind


def merge_adapter(adapted: PeftModel) -> PreTrainedModel:
    """Fold the adapter into the base's own weights, for good, and return the plain model.

    Generating needs it: 32 rows take 0.16 s per token without LoRA layers and 0.27 s with them
    (SmolLM2-135M, r=16, 2 cores). The sum is rounded to the base's dtype.
    """
    model: PreTrainedModel = adapted.merge_and_unload()
    return model


@contextmanager
def rescaling(adapted: PeftModel) -> Iterator[Callable[[float], None]]:
    """Give a function that sets B to so many times what it is now; the last call stays.

    `y = W0 x + (alpha / r) (s B) A x`: half the scale is half the change to every layer.
    """
    weights = [weight for name, weight in adapted.named_parameters() if ".lora_B." in name]
    # From the originals each time: scales that multiply one another would add up their rounding.
    originals = [weight.detach().clone() for weight in weights]

    def rescale(scale: float) -> None:
        with torch.no_grad():
            for weight, original in zip(weights, originals, strict=True):
                torch.mul(original, scale, out=weight.data)

    yield rescale


def save_adapter(adapted: PeftModel, directory: Path, *, base_name: str) -> None:
    """Write plain PEFT files: weights and configuration, each replaced as a whole.

    Nothing in them depends on the machine or the hour (peft's own writer adds a README, the base's
    path and a set in hash order), so that the same plan gives the same bytes.

    Args:
        adapted: With the adapter to write.
        directory: Exists; files of other names are left alone.
        base_name: Goes into `base_model_name_or_path`.
    """
    weights = {
        name: tensor.detach().to("cpu").contiguous()
        for name, tensor in sorted(_state(adapted).items())
    }
    staged = directory / f".{ADAPTER_FILE}.part"
    save_file(weights, str(staged), metadata={"format": "pt"})
    config = _plain_config(adapted.peft_config[ADAPTER_NAME], base_name)
    staged_config = directory / f".{CONFIG_FILE}.part"
    staged_config.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    # safetensors writes 0600 whatever the umask: both files are for whom the umask says.
    staged.chmod(staged_config.stat().st_mode & 0o777)
    # Not synced here: a checkpoint's directory is, as a whole, before it gets its name.
    staged.replace(directory / ADAPTER_FILE)
    staged_config.replace(directory / CONFIG_FILE)


def trainable_parameters(adapted: PeftModel) -> list[torch.nn.Parameter]:
    """The adapter's parameters, in the model's order."""
    return [parameter for parameter in adapted.parameters() if parameter.requires_grad]


def describe_adapter(adapted: PeftModel) -> str:
    """The adapter's geometry in words: `r=16 lora_alpha=32 target_modules=down_proj,...`."""
    config: Any = adapted.peft_config[ADAPTER_NAME]
    modules = ",".join(sorted(config.target_modules))
    return f"r={config.r} lora_alpha={config.lora_alpha} target_modules={modules}"


@contextmanager
def _without_deprecations() -> Iterator[None]:
    """For peft 0.21, which asks transformers 5.23 for a property it has renamed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def _demand_trainable(adapted: PeftModel) -> None:
    if not any(parameter.numel() for parameter in trainable_parameters(adapted)):
        raise NoTrainableParameters("the adapter has no trainable parameter")


def _state(adapted: PeftModel) -> dict[str, torch.Tensor]:
    # "auto" would ask the hub, over the network, whether the base's vocabulary has changed.
    state: dict[str, torch.Tensor] = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    return state


def _plain_config(config: PeftConfig, base_name: str) -> dict[str, Any]:
    # Sets, such as target_modules, are written in hash order by peft, another in every process.
    plain = {
        name: sorted(value) if isinstance(value, set) else value
        for name, value in config.to_dict().items()
    }
    return {**plain, "base_model_name_or_path": base_name, "inference_mode": True, "revision": None}
