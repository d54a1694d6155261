"""What llama.cpp calls each family, its modules and its rows; `gguf` itself knows most names.

A family stands in the table when an adapter of it was seen to do in llama.cpp what it does in PEFT
(`tests/exports`). llama.cpp turns q and k of some families as the model's authors first did, pairs
of neighbours, where transformers turns halves: their rows are put in another order. Must not know
files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from app.errors import BaseNotExportable

Config = Mapping[str, Any]
Order = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True, slots=True)
class Experts:
    """How a family names its experts.

    Attributes:
        stack: In transformers, within a block: what holds them all, gate and up in one.
        single: In the base's files, before an expert's number.
        gate: An expert's own matrix in the base's files; `up` and `down` likewise.
        count: What the configuration calls their number.
        width: And their inner width.
    """

    stack: str = "mlp.experts"
    single: str = "mlp.experts"
    gate: str = "gate_proj"
    up: str = "up_proj"
    down: str = "down_proj"
    count: str
    width: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """How llama.cpp holds the models that transformers gives one `model_type`.

    Attributes:
        arch: gguf's name.
        turns_neighbours: Whether rows of q and k are put in pairs.
        norm_offset: What the weights of norms are raised by.
        extras: Facts of the architecture beside the common ones: gguf's key after the
            architecture's name, and the configuration's; those that it lacks are left out.
    """

    arch: gguf.MODEL_ARCH
    turns_neighbours: bool = False
    norm_offset: float = 0.0
    extras: Mapping[str, str] = field(default_factory=dict)
    experts: Experts | None = None


_SOFT_CAPS = {
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
}
_WINDOW = {"attention.sliding_window": "sliding_window"}
_GRANITE = {
    "logit_scale": "logits_scaling",
    "residual_scale": "residual_multiplier",
    "embedding_scale": "embedding_multiplier",
    "attention.scale": "attention_multiplier",
}

FAMILIES: Mapping[str, Family] = {
    "llama": Family(arch=gguf.MODEL_ARCH.LLAMA, turns_neighbours=True),
    "mistral": Family(arch=gguf.MODEL_ARCH.LLAMA, turns_neighbours=True),
    "mixtral": Family(
        arch=gguf.MODEL_ARCH.LLAMA,
        turns_neighbours=True,
        extras={"expert_count": "num_local_experts", "expert_used_count": "num_experts_per_tok"},
        experts=Experts(
            single="block_sparse_moe.experts",
            gate="w1",
            up="w3",
            down="w2",
            count="num_local_experts",
            width="intermediate_size",
        ),
    ),
    "qwen3_moe": Family(
        arch=gguf.MODEL_ARCH.QWEN3MOE,
        extras={
            "expert_count": "num_experts",
            "expert_used_count": "num_experts_per_tok",
            "expert_feed_forward_length": "moe_intermediate_size",
        },
        experts=Experts(count="num_experts", width="moe_intermediate_size"),
    ),
    "smollm3": Family(arch=gguf.MODEL_ARCH.SMOLLM3, turns_neighbours=True),
    "granite": Family(arch=gguf.MODEL_ARCH.GRANITE, turns_neighbours=True, extras=_GRANITE),
    "qwen2": Family(arch=gguf.MODEL_ARCH.QWEN2),
    "qwen3": Family(arch=gguf.MODEL_ARCH.QWEN3),
    "olmo2": Family(arch=gguf.MODEL_ARCH.OLMO2),
    "phi3": Family(arch=gguf.MODEL_ARCH.PHI3, extras=_WINDOW),
    "gemma2": Family(
        arch=gguf.MODEL_ARCH.GEMMA2, norm_offset=1.0, extras={**_SOFT_CAPS, **_WINDOW}
    ),
    "gemma3_text": Family(
        arch=gguf.MODEL_ARCH.GEMMA3, norm_offset=1.0, extras={**_SOFT_CAPS, **_WINDOW}
    ),
}


_OTHER_NAMES: Mapping[str, str] = {"num_experts": "num_local_experts"}
"""What versions of transformers call the same."""


def is_known(config: Config) -> bool:
    """Whether a base's family stands in the table."""
    return config.get("model_type") in FAMILIES


class Architecture:
    """One base as llama.cpp sees it. Raises: BaseNotExportable: its family is not known."""

    def __init__(self, config: Config) -> None:
        model_type = config.get("model_type")
        found = FAMILIES.get(str(model_type))
        if found is None:
            raise BaseNotExportable(
                f"How llama.cpp holds a model of type {model_type!r} is not known here; known are "
                f"{', '.join(sorted(FAMILIES))}."
            )
        self.family = found
        self.config = config
        self.blocks = int(self.demand("num_hidden_layers"))

    @property
    def name(self) -> str:
        """What `general.architecture` says."""
        return str(gguf.MODEL_ARCH_NAMES[self.family.arch])

    @cached_property
    def _names(self) -> gguf.TensorNameMap:
        return gguf.get_tensor_name_map(self.family.arch, self.blocks)

    def find(self, key: str) -> Any:
        """A value of the configuration; None where it says nothing."""
        value = self.config.get(key)
        return self.config.get(_OTHER_NAMES.get(key, key)) if value is None else value

    def demand(self, key: str) -> Any:
        """The same. Raises: BaseNotExportable: it says nothing."""
        if (value := self.find(key)) is None:
            raise BaseNotExportable(f"The base's config.json says nothing of {key}.")
        return value

    def count_experts(self) -> int:
        """Of each block."""
        return 0 if self.family.experts is None else int(self.demand(self.family.experts.count))

    def find_name(self, name: str) -> str | None:
        """A module's or weight's name in a GGUF file; None where it has none."""
        found: str | None = self._names.get_name(name, try_suffixes=(".weight", ".bias"))
        return found

    def row_order(self, module: str, rows: int) -> Order | None:
        """Which of a module's rows comes first, second, ...; None where the order stays."""
        part = module.rpartition(".")[2]
        if not self.family.turns_neighbours or part not in {"q_proj", "k_proj"}:
            return None
        heads = int(self.demand("num_attention_heads"))
        if part == "k_proj":
            heads = int(self.config.get("num_key_value_heads") or heads)
        if rows % (2 * heads):
            raise BaseNotExportable(f"{module} has {rows} rows, no pairs for {heads} heads.")
        return np.arange(rows).reshape(heads, 2, rows // heads // 2).swapaxes(1, 2).reshape(-1)
