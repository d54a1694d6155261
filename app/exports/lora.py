"""Reads an adapter as peft writes it, as what it adds to each of the base's weights.

    W = W0 + (alpha / r) B A            (Hu et al. 2021, arXiv:2106.09685)

Its factor (alpha over r, or over the root of r with `use_rslora`, of the layer's own pattern where
there is one) is folded into B here, so that whoever goes on has two matrices and no settings. What
cannot be said with two matrices is refused by name. Must not know any other runtime's files.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.domain.checkpoint import ADAPTER_FILE, CONFIG_FILE
from app.errors import AdapterNotExportable, BaseNotExportable, CheckpointFilesMissing
from app.exports.weights import Floats, Weight, map_weights

_PREFIX = "base_model.model."
_PLAIN_NAME = re.compile(r"[\w.]{1,256}", re.ASCII)
_KEY = re.compile(r"(?P<module>.+?)(?P<nested>(?:\.base_layer)*)\.lora_(?P<part>[AB])\.weight")

_REFUSED: Mapping[str, str] = {
    "use_dora": "DoRA also scales each column of the sum, which two matrices cannot say",
    "lora_bias": "its B has a bias",
    "fan_in_fan_out": "its layers hold their weights transposed",
    "use_qalora": "QALoRA pools the layer's input",
    "use_bdlora": "its matrices are block-diagonal",
    "alora_invocation_tokens": "it is switched on by tokens of the prompt",
    "trainable_token_indices": "it also changes embeddings of single tokens",
    "layer_replication": "it repeats layers of the base",
    "kasa_config": "it also changes the base's own weights",
    "velora_config": "it is of another kind than B A",
    "monteclora_config": "it is of another kind than B A",
    "arrow_config": "it chooses among adapters by the prompt",
    "modules_to_save": "it holds whole layers beside B A",
}
"""Settings of peft's LoraConfig that change what an adapter computes, where they are set."""


_PLAIN = frozenset({
    "alpha_pattern", "base_model_name_or_path", "exclude_modules", "inference_mode",
    "init_lora_weights", "lora_alpha", "lora_dropout", "peft_type", "peft_version", "r",
    "rank_pattern", "target_modules", "target_parameters", "task_type", "use_rslora",
})  # fmt: skip
"""Settings of an adapter that nobody need doubt, whatever they are."""

_TOLERATED: Mapping[str, Any] = {
    "bias": "none",
    "megatron_core": "megatron.core",  # peft's default; imported where megatron_config is set
    "qalora_group_size": 16,
}

_PATTERNS = ("rank_pattern", "alpha_pattern")
_KIND_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
"""What an adapter may begin as; the others of peft take a part of the base's weights into it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraPair:
    """What an adapter adds to one module: `b @ a`, the adapter's factor in `b`.

    Attributes:
        module: The module's full name in the base.
        a: (r, in); for a stack of experts (experts * r, in), one expert after the other.
        b: (out, r); for a stack (out, r * experts), experts innermost.
        depth: How many adapters of the same module lie around this one, which are of its other
            parameters.
    """

    module: str
    a: Floats
    b: Floats
    depth: int = 0


def read_adapter(directory: Path) -> list[LoraPair]:
    """An adapter's pairs, in order of their names.

    Raises:
        CheckpointFilesMissing: The directory holds no adapter.
        AdapterNotExportable: It is more, or something else, than pairs of matrices.
    """
    for name in (CONFIG_FILE, ADAPTER_FILE):
        if not (directory / name).is_file():
            raise CheckpointFilesMissing(f"{directory} holds no {name}", file=name)
    config = _read_config(directory / CONFIG_FILE)
    try:
        weights = map_weights([directory / ADAPTER_FILE])
    except BaseNotExportable as error:
        raise AdapterNotExportable(error.message) from error
    return _fold(_pair(weights), config)


def demand_plain(directory: Path) -> None:
    """Refuse an adapter of strangers that is more than pairs of matrices, before peft reads it.

    Every setting of its configuration is one that is known here, and of a value that makes peft
    look at nothing else; its weights are floats in safetensors, which holds no code.

    Raises: CheckpointFilesMissing, AdapterNotExportable.
    """
    for file in (CONFIG_FILE, ADAPTER_FILE):
        if not (directory / file).is_file():
            raise CheckpointFilesMissing(f"{directory} holds no {file}", file=file)
    config = _read_config(directory / CONFIG_FILE)
    for name in _PATTERNS:  # before anybody matches them: a pattern may take for ever
        if not all(map(_PLAIN_NAME.fullmatch, dict(_items(config.get(name))))):
            raise AdapterNotExportable(f"The adapter's {name} names more than modules.")
    for pair in read_adapter(directory):
        if not (np.isfinite(pair.a).all() and np.isfinite(pair.b).all()):
            raise AdapterNotExportable(f"The adapter's weights of {pair.module} are no numbers.")
    odd = sorted(
        name
        for name, value in config.items()
        if value and name not in _PLAIN and _TOLERATED.get(name) != value
    )
    if odd:
        raise AdapterNotExportable(
            f"The adapter's configuration sets {', '.join(odd)}, which plain LoRA does not."
        )
    for name in ("target_modules", "exclude_modules", "target_parameters"):
        value = config.get(name) or []
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise AdapterNotExportable(f"The adapter's {name} is no list of names.")


def _read_config(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise AdapterNotExportable(f"{file.name} is no JSON: {error}") from error
    if not isinstance(config, dict) or str(config.get("peft_type")).upper() != "LORA":
        raise AdapterNotExportable(f"{file.name} is not of a LoRA adapter, and only those fit")
    for name, why in _REFUSED.items():
        if config.get(name):
            raise AdapterNotExportable(f"The adapter has {name}: {why}; other runtimes lack it.")
    if (start := config.get("init_lora_weights", True)) not in _KIND_STARTS:
        raise AdapterNotExportable(
            f"The adapter began as {start}, which changes the base's weights too: convert it to "
            "plain LoRA first (peft's `path_initial_model_for_weight_conversion`)."
        )
    if config.get("target_parameters") and any(map(config.get, _PATTERNS)):
        raise AdapterNotExportable(
            "The adapter has rank_pattern or alpha_pattern beside target_parameters, which are "
            "not told apart here."
        )
    if config.get("bias", "none") != "none":
        raise AdapterNotExportable("The adapter has bias: it holds biases beside B A.")
    return config


def _pair(weights: Mapping[str, Weight]) -> dict[tuple[str, int], dict[str, Floats]]:
    found: dict[tuple[str, int], dict[str, Floats]] = {}
    for name, weight in weights.items():
        match = _KEY.fullmatch(name.removeprefix(_PREFIX))
        if match is None or len(weight.shape) != 2:
            raise AdapterNotExportable(
                f"The adapter holds {name}, which is no matrix A or B of a linear layer."
            )
        depth = match["nested"].count(".base_layer")
        found.setdefault((match["module"], depth), {})[match["part"]] = weight.read()
    return found


def _fold(
    parts: Mapping[tuple[str, int], Mapping[str, Floats]], config: Mapping[str, Any]
) -> list[LoraPair]:
    if not parts:
        raise AdapterNotExportable("The adapter changes no layer: it holds no pair of matrices.")
    pairs = []
    for (module, depth), pair in sorted(parts.items()):
        if pair.keys() != {"A", "B"} or pair["A"].shape[0] != pair["B"].shape[1]:
            raise AdapterNotExportable(f"A and B of {module} do not belong together.")
        scale = _scale(module, config)
        pairs.append(LoraPair(module=module, a=pair["A"], b=pair["B"] * scale, depth=depth))
    return pairs


def _scale(module: str, config: Mapping[str, Any]) -> float:
    rank = _of_pattern(config.get("rank_pattern"), module, config.get("r"))
    alpha = _of_pattern(config.get("alpha_pattern"), module, config.get("lora_alpha"))
    if rank <= 0:
        raise AdapterNotExportable(f"The rank of {module} is {rank:g}.")
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _of_pattern(pattern: Any, module: str, common: Any) -> float:
    """The value of the first pattern that the end of the name matches, as peft looks for it."""
    value = next((v for key, v in _items(pattern) if _matches(key, module)), common)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise AdapterNotExportable(f"{CONFIG_FILE} names no rank or alpha for {module}.")
    return float(value)


def _items(pattern: Any) -> Iterable[tuple[str, Any]]:
    return pattern.items() if isinstance(pattern, dict) else ()


def _matches(key: str, module: str) -> bool:
    try:
        return re.match(rf"(.*\.)?({key})$", module) is not None
    except re.error as error:
        raise AdapterNotExportable(f"{key!r} is no pattern: {error}") from error
