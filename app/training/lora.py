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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.tuners.lora.layer import ParamWrapper
from safetensors.torch import save_file
from transformers import PreTrainedModel

from app.domain.checkpoint import ADAPTER_FILE, CONFIG_FILE
from app.domain.layers import AdaptedLayers
from app.domain.recipe import Recipe
from app.errors import BaseModelMismatch, CheckpointFilesMissing, NoTrainableParameters
from app.training.layers import find_layers, find_reached
from app.training.quantized import is_rounded
from app.training.targets import adapted_layers, choose_targets, lora_config

ADAPTER_NAME = "default"


@dataclass(frozen=True, kw_only=True, slots=True)
class Attached:
    """A model with its adapter, and which of its layers that changes."""

    adapted: PeftModel
    layers: AdaptedLayers


def attach_adapter(model: PreTrainedModel, recipe: Recipe) -> Attached:
    """Attach a new adapter; B is zero, so that nothing changes until it is trained.

    Sets torch's global seed to `recipe.seed` first, because A is drawn at once.

    Raises:
        TargetModulesUnmatched: One of `target_modules` names no layer of the decoder's blocks.
        NoTrainableParameters: Nothing that they name can be adapted.
        BaseModelUnsupported: The model's layers are not known, or it takes no gradient.
    """
    layers = find_layers(model)
    targets = choose_targets(model, layers, find_reached(model, layers), recipe)
    config = lora_config(model, targets, recipe)
    torch.manual_seed(recipe.seed)
    try:
        with _without_warnings():
            adapted = get_peft_model(model, config, adapter_name=ADAPTER_NAME)
    except (ValueError, TypeError, NotImplementedError) as error:  # such as a quantised layer
        raise NoTrainableParameters(f"peft cannot adapt {type(model).__name__}: {error}") from error
    _demand_trainable(adapted)
    return Attached(adapted=adapted, layers=adapted_layers(adapted, layers, targets.refused))


def demand_targets(model: PreTrainedModel, recipe: Recipe) -> None:
    """Refuse what `attach_adapter` would refuse, and change nothing. Raises: as that."""
    layers = find_layers(model)
    choose_targets(model, layers, find_reached(model, layers), recipe)


def continue_adapter(model: PreTrainedModel, directory: Path, *, seed: int) -> Attached:
    """Load an adapter to train it further. Its own r, alpha and target modules hold.

    Raises:
        CheckpointFilesMissing: The directory holds no adapter.
        BaseModelMismatch: The adapter's shapes do not fit the model.
        NoTrainableParameters: It came frozen.
    """
    layers = find_layers(model)
    torch.manual_seed(seed)
    # PEFT's default loads an adapter frozen; training then runs, and changes nothing.
    adapted = read_adapter(model, directory, is_trainable=True)
    _demand_trainable(adapted)
    return Attached(adapted=adapted, layers=adapted_layers(adapted, layers, {}))


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
        with _without_warnings():
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
    (SmolLM2-135M, r=16, 2 cores). The sum is rounded to the base's dtype; where that is 8 or 4
    bits, what was learned would be lost, and the adapter stays beside the base.
    """
    if any(map(is_rounded, adapted.modules())):
        return adapted.get_base_model()  # type: ignore[return-value]  # peft knows modules only
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


def parameter_of(layer: ParamWrapper) -> torch.nn.Parameter:
    """The frozen parameter that such an adapter exchanges."""
    found: torch.nn.Parameter = layer.get_param()  # type: ignore[no-untyped-call]
    return found


def wraps_parameters(model: torch.nn.Module) -> bool:
    """Whether an adapter exchanges parameters while it is called, so that one thread only may."""
    return any(isinstance(module, ParamWrapper) for module in model.modules())


def describe_adapter(attached: Attached) -> str:
    """The adapter's geometry in words: `r=16 lora_alpha=32 14 of 14 layers: down_proj,...`."""
    config: Any = attached.adapted.peft_config[ADAPTER_NAME]
    layers = attached.layers
    modules = ",".join(sorted({name.rpartition(".*.")[2] for name in layers.modules}))
    return (
        f"r={config.r} lora_alpha={config.lora_alpha} "
        f"{layers.adapted} of {layers.total} layers: {modules}"
    )


@contextmanager
def _without_warnings() -> Iterator[None]:
    """For peft 0.21, which asks transformers 5.23 for a property it has renamed.

    And of every layer that it takes by its parameter it says that this is a beginning.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
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
