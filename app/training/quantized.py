"""A base held in 8 or 4 bits by bitsandbytes: whether, why, and what its layers are without it.

For a GPU that has no room for the weights as they are: `auto` takes the mildest that fits, from the
free memory, before anything is loaded, and says so. Only the linear layers are rounded; embeddings,
norms, the output layer and the adapter stay as they are. Must not know adapters or jobs.

bitsandbytes, because peft 0.21 trains on its layers in both sizes, and on torchao's in 8 bits only.
Its 8 bits round what goes into a layer, too, row by row; what has to be exact is computed from the
rounded weights instead (`exact_product`). Its handling of outliers is off: it looks for them in all
rows at once, so that a row's states would depend on the rows beside it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from peft.utils.integrations import dequantize_bnb_weight, dequantize_module_weight
from safetensors import safe_open
from torch import nn
from transformers import AutoConfig, BitsAndBytesConfig, PretrainedConfig

from app.artifacts.bases import find_base_model, weight_files
from app.errors import BaseModelNotFound, BaseModelUnsupported
from app.training.devices import free_bytes

PACKAGE = "bitsandbytes"
WEIGHTS_SHARE = 0.5
"""Of the free memory that a base's weights may take before they are rounded; the rest is for
activations, logits and the optimiser. A guess."""

BYTES_EACH = {"8bit": 1.0, "4bit": 0.53}
"""Of a rounded weight; in 4 bits with its scales, rounded in their turn (arXiv:2305.14314)."""

_WORDS = {
    "8bit": "8 bits (int8 a row, its inputs too)",
    "4bit": "4 bits (nf4, its scales in 8)",
}
_LOGGER = "bitsandbytes.autograd._functions"


@dataclass(frozen=True, kw_only=True, slots=True)
class Holding:
    """How a base is held.

    Attributes:
        kind: none, 8bit or 4bit.
        described: Why, for the report; empty where nobody asked and nothing had to be weighed.
    """

    kind: str = "none"
    described: dict[str, str] = field(default_factory=dict)


def choose_holding(
    wanted: str, base_model: str, device: torch.device, dtype: torch.dtype
) -> Holding:
    """What a recipe's `quantization` comes to; `auto` never rounds what a CPU trains on.

    Raises:
        BaseModelNotFound: The base's files, or the package that is asked for.
        BaseModelUnsupported: What is asked for cannot be had of this base, or on this device.
    """
    demand_possible(wanted, base_model, device)
    if wanted != "auto":
        return Holding(kind=wanted, described=_described(wanted, "as asked"))
    path = find_base_model(base_model)
    if device.type != "cuda" or own_quantization(path) is not None:
        return Holding()
    sizes = sizes_of(path, dtype)
    if sizes is None:
        return Holding(described=_described("none", "the sizes of its weights are not known"))
    kind, why = mildest(sizes, free_bytes(device), is_installed=find_spec(PACKAGE) is not None)
    return Holding(kind=kind, described=_described(kind, why))


def mildest(sizes: Mapping[str, float], room: int, *, is_installed: bool) -> tuple[str, str]:
    """The kind that rounds least of those that fit, and why; the smallest where none does.

    Args:
        sizes: Bytes in memory by kind; see `sizes_of`.
        room: Bytes that are free.
        is_installed: Whether there is what rounds.
    """
    why = f"as they are they take {sizes['none'] / 1e6:.0f} MB of {room / 1e6:.0f} MB free"
    if sizes["none"] <= WEIGHTS_SHARE * room:
        return "none", why
    if not is_installed:
        return "none", f"{why}, and {PACKAGE} is not installed"
    return ("8bit" if sizes["8bit"] <= WEIGHTS_SHARE * room else "4bit"), why


def demand_possible(wanted: str, base_model: str, device: torch.device) -> None:
    """Refuse before anything is loaded what a base cannot be held in. Raises: `choose_holding`."""
    if wanted in {"auto", "none"}:
        return
    if device.type not in {"cuda", "cpu"}:
        raise BaseModelUnsupported(
            f"a base is held in {wanted} on CUDA or a CPU, and this is {device.type}; "
            "SAGE_QUANTIZATION=none holds it as it is"
        )
    path = find_base_model(base_model)
    if (own := own_quantization(path)) is not None:
        raise BaseModelUnsupported(
            f"{path} is quantised already ({own}): SAGE_QUANTIZATION=auto takes it as it is"
        )
    if find_spec(PACKAGE) is None:
        raise BaseModelNotFound(
            f"to hold a base in {wanted} takes the package {PACKAGE}: "
            "`pip install 'sage-sleep[quantized]'`, or SAGE_QUANTIZATION=auto"
        )


def own_quantization(path: Path) -> str | None:
    """The method that a base's files are quantised by; None for plain weights."""
    stored, _ = PretrainedConfig.get_config_dict(str(path), local_files_only=True)
    told = stored.get("quantization_config")
    return None if told is None else str(told.get("quant_method", "unknown"))


def sizes_of(path: Path, dtype: torch.dtype) -> dict[str, float] | None:
    """Bytes in memory of each kind; None where the files do not tell."""
    config: Any = AutoConfig.from_pretrained(str(path), local_files_only=True)
    vocabulary = config.get_text_config().vocab_size
    linear, others = 0, 0
    for file in weight_files(path):
        if file.suffix != ".safetensors":
            return None
        with safe_open(str(file), framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118  # it is no mapping
                shape = stored.get_slice(name).get_shape()
                count = torch.Size(shape).numel()
                # Of the vocabulary are the embedding and the output layer.
                if len(shape) == 2 and vocabulary not in shape:
                    linear += count
                else:
                    others += count
    rest = others * dtype.itemsize
    whole: dict[str, float] = {"none": rest + linear * dtype.itemsize}
    return whole | {kind: rest + linear * each for kind, each in BYTES_EACH.items()}


def loading_options(kind: str, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """What `from_pretrained` is told; nothing for a base that is held as it is."""
    if kind == "none":
        return {}
    # For every product in 8 bits it would say that it rounds.
    logging.getLogger(_LOGGER).setLevel(logging.ERROR)
    config = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_8bit=kind == "8bit",
        load_in_4bit=kind == "4bit",
        llm_int8_threshold=0.0,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": config, "device_map": {"": device}}


def keep_layout(model: nn.Module) -> None:
    """Let layers of 4 bits stay as they are laid out on a CPU.

    Where it knows bf16, they would be laid out anew at the first forward pass without a gradient,
    in a way that no gradient is taken from.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            setattr(module, "support_avx512bf16_for_cpu", False)  # noqa: B010  # of no type known here


def is_rounded(module: nn.Module) -> bool:
    """Whether it is a linear layer whose numbers are no matrix."""
    weight = getattr(module, "weight", None)
    return (
        isinstance(module, nn.Linear)
        and isinstance(weight, torch.Tensor)
        and not weight.is_floating_point()
    )


def whole_weight(layer: Any) -> torch.Tensor:
    """The matrix that a rounded layer stands for."""
    if type(layer.weight).__name__ in {"Params4bit", "Int8Params"}:
        # Not the call below: on a CPU it makes a layer of 8 bits forget its scales (peft 0.21).
        return dequantize_bnb_weight(layer.weight, state=getattr(layer, "state", None))
    return dequantize_module_weight(layer)


def exact_product(module: nn.Module, inputs: Any, _output: Any) -> torch.Tensor:
    """A forward hook: `W x + b` in fp32 of the weights that a rounded layer stands for."""
    layer: Any = module
    weight = whole_weight(layer).float()
    bias = None if layer.bias is None else layer.bias.float()
    return nn.functional.linear(inputs[0].float(), weight, bias)


def _described(kind: str, why: str) -> dict[str, str]:
    if kind == "none":
        return {"base_weights": f"as they are: {why}"}
    return {"base_weights": f"{_WORDS[kind]}, {PACKAGE} {version(PACKAGE)}: {why}"}
