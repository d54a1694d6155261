"""Adapters of experts: peft has a block's in one stack, the base's files each by itself.

Here each pair of a stack becomes pairs of the single experts' matrices, named as the base's files
name them. Must not know any other runtime's files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.errors import AdapterNotExportable
from app.exports.architectures import Architecture, Experts
from app.exports.lora import LoraPair


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpertPlace:
    """One matrix of one expert.

    Attributes:
        part: `gate`, `up` or `down`.
    """

    block: int
    part: str
    expert: int

    @property
    def stack(self) -> str:
        """What llama.cpp calls all experts' matrices of this kind in the block."""
        return f"blk.{self.block}.ffn_{self.part}_exps.weight"


def find_place(module: str, architecture: Architecture) -> ExpertPlace | None:
    """Which expert's matrix a module of the base's files is; None where it is no expert's."""
    experts = architecture.family.experts
    if experts is None:
        return None
    parts = {experts.gate: "gate", experts.up: "up", experts.down: "down"}
    pattern = rf"model\.layers\.(\d+)\.{re.escape(experts.single)}\.(\d+)\.({'|'.join(parts)})"
    match = re.fullmatch(pattern, module)
    if match is None:
        return None
    return ExpertPlace(block=int(match[1]), part=parts[match[3]], expert=int(match[2]))


def unstack(pairs: Sequence[LoraPair], architecture: Architecture) -> list[LoraPair]:
    """The pairs, those of stacks as the single experts' own.

    Raises: AdapterNotExportable: A stack of another shape than the base's experts have.
    """
    experts = architecture.family.experts
    found: list[LoraPair] = []
    for pair in pairs:
        if experts is not None and pair.module.endswith(f".{experts.stack}"):
            found += _single(pair, experts, architecture)
        elif pair.depth:
            raise AdapterNotExportable(
                f"The adapter changes {pair.module} as a stack, and no stack of experts is known "
                "there."
            )
        else:
            found.append(pair)
    return found


def _single(pair: LoraPair, experts: Experts, architecture: Architecture) -> Iterator[LoraPair]:
    count = int(architecture.demand(experts.count))
    width = int(architecture.demand("hidden_size"))
    inner = int(architecture.demand(experts.width))
    # peft (ParamWrapper.get_delta_weight): A has one expert's rows after the other's, and in B the
    # experts lie innermost.
    a = pair.a.reshape(count, -1, pair.a.shape[1])
    b = pair.b.reshape(pair.b.shape[0], -1, count)
    if (a.shape[2], b.shape[0]) == (width, 2 * inner):
        rows = {experts.gate: slice(0, inner), experts.up: slice(inner, 2 * inner)}
    elif (a.shape[2], b.shape[0]) == (inner, width):
        rows = {experts.down: slice(0, width)}
    else:
        raise AdapterNotExportable(
            f"The adapter's stack for {pair.module} is of {b.shape[0]} x {a.shape[2]}, which is "
            "none of the base's experts' shapes."
        )
    block = pair.module.removesuffix(f".{experts.stack}")
    for expert in range(count):
        for name, part in rows.items():
            yield LoraPair(
                module=f"{block}.{experts.single}.{expert}.{name}",
                a=a[expert],
                b=b[part, :, expert],
            )
