"""An adapter as llama.cpp loads it: one GGUF file of pairs A and B.

    y = W0 x + (lora_alpha / rank of the pair) B A x

llama.cpp reads one `lora_alpha` for all pairs and takes each pair's own rank. The adapter's factor
is in B already, so `lora_alpha` is the commonest rank, and a B of another rank is multiplied with
that over `lora_alpha`: so llama.cpp's factor is gone again. float32, since llama.cpp is slower with
float16. Must not know where adapter and base come from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import gguf
import numpy as np

from app.errors import AdapterNotExportable
from app.exports.architectures import Architecture
from app.exports.experts import find_place, unstack
from app.exports.lora import LoraPair
from app.exports.weights import Floats


def write_adapter(
    pairs: Sequence[LoraPair], architecture: Architecture, target: Path, *, name: str
) -> None:
    """Write an adapter's pairs as GGUF; the same pairs give the same bytes.

    Args:
        pairs: With their factor in B.
        architecture: Of the base that they belong to.
        target: The file; not there yet.
        name: What the file calls itself.

    Raises: AdapterNotExportable: A module that llama.cpp has no like of.
    """
    placed = _placed(unstack(pairs, architecture), architecture)
    alpha = Counter(a.shape[-2] for _, a, _ in placed).most_common(1)[0][0]
    writer = gguf.GGUFWriter(None, architecture.name)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(alpha))
    writer.add_name(name)
    for weight, a, b in placed:
        rank = a.shape[-2]
        # A factor of 1 for most, so that their numbers are the adapter's own.
        scaled = b if rank == alpha else b * np.float32(rank / alpha)
        writer.add_tensor(f"{weight}.lora_a", np.ascontiguousarray(a, dtype=np.float32))
        writer.add_tensor(f"{weight}.lora_b", np.ascontiguousarray(scaled, dtype=np.float32))
    with closing(writer):
        writer.write_header_to_file(target)
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()


def _placed(
    pairs: Sequence[LoraPair], architecture: Architecture
) -> list[tuple[str, Floats, Floats]]:
    """Each weight of llama.cpp's with its A and B; experts' as stacks of all experts."""
    found: list[tuple[str, Floats, Floats]] = []
    stacks: dict[str, dict[int, LoraPair]] = {}
    for pair in pairs:
        expert = find_place(pair.module, architecture)
        if expert is not None:
            stacks.setdefault(expert.stack, {})[expert.expert] = pair
            continue
        order = architecture.row_order(pair.module, pair.b.shape[0])
        found.append(
            (place(pair, architecture), pair.a, pair.b if order is None else pair.b[order])
        )
    for weight, experts in stacks.items():
        ranks = {pair.a.shape[0] for pair in experts.values()}
        if len(experts) != architecture.count_experts() or len(ranks) != 1:
            raise AdapterNotExportable(
                f"The adapter changes some experts of {weight}, or each with another rank, and "
                "llama.cpp takes all of a block with one."
            )
        in_order = [experts[number] for number in sorted(experts)]
        found.append(
            (
                weight,
                np.stack([pair.a for pair in in_order]),
                np.stack([pair.b for pair in in_order]),
            )
        )
    return found


def place(pair: LoraPair, architecture: Architecture) -> str:
    """Which weight of llama.cpp's a pair changes. Raises: AdapterNotExportable."""
    weight = architecture.find_name(f"{pair.module}.weight")
    if weight is None:
        raise AdapterNotExportable(
            f"The adapter changes {pair.module}, and llama.cpp's {architecture.name} has no such "
            "matrix."
        )
    if weight.startswith("token_embd"):
        raise AdapterNotExportable(
            "The adapter changes embeddings, and llama.cpp applies none to them."
        )
    if weight.startswith("output.") and architecture.config.get("tie_word_embeddings"):
        raise AdapterNotExportable(
            "The adapter changes lm_head, and this base has none of its own: it shares the "
            "embeddings, which llama.cpp applies no adapter to."
        )
    return weight
