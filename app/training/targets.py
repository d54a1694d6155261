"""Which of a model's linear layers a new adapter changes, and by what names peft finds them.

peft looks for names at the ends of modules' names, anywhere in the model: a bare `q_proj` would
adapt the tower for images, too. What is written here names what is meant and nothing else. Some
layers peft reaches as parameters only: experts that are stacked into one, and those whose names it
takes for an older form of such experts. Must not know training.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraModel
from peft.tuners.lora.layer import LoraLayer, ParamWrapper
from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from app.domain.layers import AdaptedLayers, LeftLayers, count_layers
from app.domain.recipe import ALL_LINEAR, Recipe
from app.errors import NoTrainableParameters, TargetModulesUnmatched
from app.training.layers import BlockLayers, plain_name

UNREACHED = "no text reaches it, or no gradient comes back from it"
UNNAMED = "target_modules do not name it"
NOT_OF_PARENT = "the adapter that this one goes on from has none there"


@dataclass(frozen=True, kw_only=True, slots=True)
class Targets:
    """What a new adapter changes.

    Attributes:
        modules: As peft is told them; `parameters` too.
        refused: Full names of layers that it leaves, and why.
    """

    modules: tuple[str, ...]
    parameters: tuple[str, ...]
    refused: dict[str, str]


def choose_targets(
    model: PreTrainedModel, layers: BlockLayers, reached: Collection[str], recipe: Recipe
) -> Targets:
    """Choose what a recipe's `target_modules` mean in a bare model.

    Raises:
        TargetModulesUnmatched: One of them names no layer.
        NoTrainableParameters: Nothing of what they name can be adapted.
    """
    named = _named(layers, recipe.target_modules)
    refused = {name: UNNAMED for name in layers.names if name not in named}
    refused |= {name: UNREACHED for name in named if name not in reached}
    modules: list[str] = []
    parameters: list[str] = []
    for name in (name for name in named if name in reached):
        if (why := _refusal(model, name, recipe)) is not None:
            refused[name] = why
        elif name in layers.stacks:
            parameters.append(name)
        else:
            modules.append(name)
    for name in _taken_for_experts(model, modules):
        modules.remove(name)
        if recipe.lora_dropout:
            refused[name] = _NO_DROPOUT
        else:
            parameters.append(f"{name}.weight")
    if not modules and not parameters:
        reasons = ", ".join(sorted({refused[name] for name in named}))
        raise NoTrainableParameters(
            f"target_modules {', '.join(recipe.target_modules)}: none of {len(named)} layers of "
            f"{type(model).__name__} can be adapted: {reasons}"
        )
    return Targets(
        modules=_shortest(modules, [name for name, _ in model.named_modules()]),
        parameters=_shortest(parameters, [name for name, _ in model.named_parameters()]),
        refused=refused,
    )


def lora_config(model: PreTrainedModel, targets: Targets, recipe: Recipe) -> LoraConfig:
    """What peft is told; each expert of a stack gets the whole rank."""
    is_conv1d = any(
        isinstance(module, Conv1D) and _matches(name, targets.modules)
        for name, module in model.named_modules()
    )
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=recipe.r,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        target_modules=list(targets.modules),
        target_parameters=list(targets.parameters) or None,
        fan_in_fan_out=is_conv1d,
    )


def adapted_layers(
    adapted: PeftModel, layers: BlockLayers, refused: dict[str, str]
) -> AdaptedLayers:
    """What an attached adapter changes, as it stands in the model, of all that it could.

    Args:
        refused: Why a layer is left; others are by the adapter's own doing.
    """
    return count_changed(layers, set(_changed(adapted.get_base_model())), refused)


def count_changed(
    layers: BlockLayers, changed: Collection[str], refused: dict[str, str]
) -> AdaptedLayers:
    """The layers, those that are changed and the others."""
    left = [name for name in layers.names if name not in changed]
    counts = Counter((plain_name(name), refused.get(name, NOT_OF_PARENT)) for name in left)
    kept = [name for name in layers.names if name in changed]
    return count_layers(
        adapted=len(kept),
        modules=tuple(dict.fromkeys(map(plain_name, kept))),
        left=tuple(
            LeftLayers(name=name, count=count, why=why) for (name, why), count in counts.items()
        ),
    )


def _named(layers: BlockLayers, patterns: Sequence[str]) -> list[str]:
    """The layers that the patterns name, as peft reads them: by the end of their names."""
    unmatched = [
        pattern
        for pattern in patterns
        if pattern != ALL_LINEAR and not any(_matches(name, [pattern]) for name in layers.names)
    ]
    if unmatched:
        there = sorted({_leaf(name) for name in layers.names})
        raise TargetModulesUnmatched(
            f"target_modules: no linear layer of the decoder's blocks is called "
            f"{' or '.join(unmatched)}; there are {', '.join(there)} (or all of them: "
            f"{ALL_LINEAR})",
            unmatched=unmatched,
            there=there,
        )
    if ALL_LINEAR in patterns:
        return list(layers.names)
    return [name for name in layers.names if _matches(name, patterns)]


def _leaf(name: str) -> str:
    """The last part of a name, or the last two where that is only `weight`."""
    head, _, leaf = name.rpartition(".")
    return f"{head.rpartition('.')[2]}.{leaf}" if leaf == "weight" else leaf


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(name == pattern or name.endswith(f".{pattern}") for pattern in patterns)


_NO_DROPOUT = "peft changes it without lora_dropout only"


def _refusal(model: PreTrainedModel, name: str, recipe: Recipe) -> str | None:
    """Why peft adapts no such layer, or None."""
    leaf = name.rpartition(".")[2]
    config = LoraConfig(target_modules=[leaf])
    try:
        # Called without an instance, which it does not look at: there is none before the adapter.
        LoraModel._check_target_module_compatiblity(None, config, model, leaf)  # type: ignore[arg-type]  # noqa: SLF001
    except ValueError:
        return "peft refuses it in this family, whose kernels take its weight past any adapter"
    is_stack = not isinstance(_find(model, name), nn.Module)
    return _NO_DROPOUT if is_stack and recipe.lora_dropout else None


def _find(model: nn.Module, name: str) -> Any:
    owner, _, leaf = name.rpartition(".")
    return getattr(model.get_submodule(owner), leaf)


def _taken_for_experts(model: PreTrainedModel, names: Sequence[str]) -> list[str]:
    """Those of the modules that peft would take for an older form of stacked experts."""
    config: Any = LoraConfig(target_modules=list(names))
    try:
        convert_peft_config_for_transformers(config, model, None)
    except ValueError:  # half of a pair: it takes them for that, and misses the other
        return _pairwise(model, names)
    return [name for name in names if name not in set(config.target_modules)]


def _pairwise(model: PreTrainedModel, names: Sequence[str]) -> list[str]:
    """The same, one by one: alone, each half of a pair is refused."""
    taken = []
    for name in names:
        config: Any = LoraConfig(target_modules=[name])
        try:
            convert_peft_config_for_transformers(config, model, None)
        except ValueError:
            taken.append(name)
            continue
        if name not in set(config.target_modules):
            taken.append(name)
    return taken


def _shortest(wanted: Sequence[str], every: Iterable[str]) -> tuple[str, ...]:
    """The shortest ends of the wanted names that no other name has; sorted, each once."""
    only = set(wanted)
    foreign = {end for name in every if name not in only for end in _ends(name)}
    found = set()
    for name in wanted:
        found.add(next((end for end in _ends(name) if end not in foreign), name))
    return tuple(sorted(found))


def _ends(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1)]


def _changed(model: nn.Module) -> Iterable[str]:
    """Full names, in the bare model, of what peft's layers stand around."""
    for name, module in model.named_modules():
        if isinstance(module, ParamWrapper):
            owner = name.replace(".base_layer", "")
            is_linear = module.parameter_name == "weight" and not _is_stack(module)
            yield owner if is_linear else f"{owner}.{module.parameter_name}"
        elif isinstance(module, LoraLayer):
            yield name


def _is_stack(module: ParamWrapper) -> bool:
    parameter: Any = module.get_param()  # type: ignore[no-untyped-call]
    return bool(parameter.dim() == 3)
