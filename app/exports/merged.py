"""Base and adapter as one model: as GGUF for llama.cpp and Ollama, or as safetensors.

A weight is written as soon as it is added up, so that a model of any size takes a few hundred MB of
memory. Below eight bits nothing is written: rounding to four bits loses what a night of training
changes (`MergeLosesLearning`). Must not know where adapter and base come from.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

import gguf
import numpy as np
from numpy.typing import NDArray

from app.artifacts.bases import FETCHED_MARKER, find_base_gguf, weight_files
from app.errors import BaseNotExportable
from app.exports.architectures import Architecture, is_known
from app.exports.experts import find_place, unstack
from app.exports.lora import LoraPair
from app.exports.merging import MergedStack, MergedWeight, match_pairs
from app.exports.metadata import Description, describe, read_config, read_description
from app.exports.weights import (
    METADATA_KEY,
    Weight,
    map_weights,
    read_header,
    to_bits,
)

Merged = MergedWeight | MergedStack


class Numbers(StrEnum):
    """What the weights of a GGUF file are written as."""

    F32 = "f32"
    F16 = "f16"
    Q8_0 = "q8_0"


_KINDS: Mapping[Numbers, tuple[gguf.GGMLQuantizationType, gguf.LlamaFileType]] = {
    Numbers.F32: (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    Numbers.F16: (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    Numbers.Q8_0: (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}
_Q8_BLOCK = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType.Q8_0][0]
_EMBEDDINGS = "token_embd.weight"
_COPIED_SUFFIXES = frozenset({".json", ".jinja", ".txt", ".model"})
"""Of what lies beside the base's weights."""


def write_merged_gguf(
    pairs: Sequence[LoraPair],
    base: Path,
    target: Path,
    *,
    numbers: Numbers,
    name: str,
    base_gguf: Path | None = None,
) -> None:
    """Write a base with an adapter's pairs added as one GGUF file; the same gives the same bytes.

    Args:
        pairs: None for the base alone.
        base: Its directory, with safetensors weights.
        target: The file; not there yet.
        name: What the file calls the model.
        base_gguf: The base's own GGUF file, for what it says of the tokenizer; None to look for
            one in the base's directory.

    Raises:
        AdapterNotExportable: The adapter does not fit the base.
        BaseNotExportable: The base's family, tokenizer or weights are not known here.
    """
    architecture = Architecture(read_config(base))
    weights = map_weights(weight_files(base))
    matched = match_pairs(weights, unstack(pairs, architecture))
    merged = _stacked(_place(weights, matched, architecture), architecture)
    if _EMBEDDINGS not in merged:
        raise BaseNotExportable("The base's files hold no embeddings.")
    own = base_gguf or find_base_gguf(base)
    description = (
        describe(base, architecture, rows=merged[_EMBEDDINGS].shape[0])
        if own is None
        else read_description(own, architecture)
    )
    _check_same(merged, description)
    kinds = {placed: _kind_of(weight, numbers) for placed, weight in merged.items()}
    writer = gguf.GGUFWriter(None, architecture.name)
    writer.add_name(name)
    writer.add_file_type(_KINDS[numbers][1])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for entry in description.entries:
        writer.add_key_value(entry.key, entry.value, entry.type, sub_type=entry.sub_type)
    for placed, values in description.constants.items():
        writer.add_tensor_info(placed, values.shape, values.dtype, values.nbytes)
    for placed, weight in merged.items():
        empty = _empty(weight.shape, kinds[placed])
        writer.add_tensor_info(placed, empty.shape, empty.dtype, empty.nbytes, kinds[placed])
    with closing(writer):
        writer.write_header_to_file(target)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for values in description.constants.values():
            writer.write_tensor_data(values)
        for placed, weight in merged.items():
            writer.write_tensor_data(_encode(placed, weight, kinds[placed]))


def _stacked(
    placed: Iterable[tuple[str, str, MergedWeight]], architecture: Architecture
) -> dict[str, Merged]:
    """Each weight by its name in a GGUF file; experts' as stacks."""
    merged: dict[str, Merged] = {}
    stacks: dict[str, dict[int, MergedWeight]] = {}
    for name, target, weight in placed:
        place = find_place(name.removesuffix(".weight"), architecture)
        if place is None:
            merged[target] = weight
        else:
            stacks.setdefault(place.stack, {})[place.expert] = weight
    for target, experts in stacks.items():
        if sorted(experts) != list(range(len(experts))):
            raise BaseNotExportable(f"The base's files lack experts of {target}.")
        merged[target] = MergedStack(experts=tuple(experts[n] for n in sorted(experts)))
    return merged


def _place(
    weights: Mapping[str, Weight], pairs: Mapping[str, LoraPair], architecture: Architecture
) -> Iterator[tuple[str, str, MergedWeight]]:
    """Each weight with its own name and that in a GGUF file, in order of the base's files."""
    is_tied = bool(architecture.config.get("tie_word_embeddings"))
    for name, weight in weights.items():
        if name.endswith(".inv_freq") or (is_tied and name == "lm_head.weight"):
            continue
        place = find_place(name.removesuffix(".weight"), architecture)
        placed = architecture.find_name(name) if place is None else place.stack
        if placed is None:
            raise BaseNotExportable(
                f"The base's {name} has no like in llama.cpp's {architecture.name}."
            )
        is_norm = placed.endswith("norm.weight")
        yield (
            name,
            placed,
            MergedWeight(
                weight=weight,
                pair=pairs.get(name),
                order=architecture.row_order(name.rpartition(".")[0], weight.shape[0]),
                raised_by=architecture.family.norm_offset if is_norm else 0.0,
            ),
        )


def _check_same(merged: Mapping[str, Merged], description: Description) -> None:
    """Refuse a GGUF file that is of another model."""
    if not description.shapes:
        return
    theirs = {
        name: shape for name, shape in description.shapes.items()
        if name not in description.constants
    }  # fmt: skip
    ours = {name: weight.shape for name, weight in merged.items()}
    theirs.pop("output.weight", None) if "output.weight" not in ours else None
    for name in sorted(theirs.keys() | ours.keys()):
        if theirs.get(name) != ours.get(name):
            raise BaseNotExportable(
                f"The GGUF file is of another model than the base: {name} is "
                f"{theirs.get(name, 'absent')} there and {ours.get(name, 'absent')} here."
            )


def _kind_of(weight: Merged, numbers: Numbers) -> gguf.GGMLQuantizationType:
    """As llama.cpp's own converter has it: vectors stay, and rows that fill no block take F16."""
    if len(weight.shape) == 1:
        return gguf.GGMLQuantizationType.F32
    if numbers is Numbers.Q8_0 and weight.shape[-1] % _Q8_BLOCK:
        return gguf.GGMLQuantizationType.F16
    return _KINDS[numbers][0]


def _empty(shape: tuple[int, ...], kind: gguf.GGMLQuantizationType) -> NDArray[Any]:
    if kind == gguf.GGMLQuantizationType.Q8_0:
        return np.empty(gguf.quant_shape_to_byte_shape(shape, kind), dtype=np.uint8)
    return np.empty(shape, np.float16 if kind == gguf.GGMLQuantizationType.F16 else np.float32)


def _encode(name: str, weight: Merged, kind: gguf.GGMLQuantizationType) -> NDArray[Any]:
    encoded = _empty(weight.shape, kind)
    for start, values in weight.blocks():
        block = encoded[start : start + len(values)]
        if kind == gguf.GGMLQuantizationType.Q8_0:
            block[:] = gguf.quantize(values, kind)
            continue
        with np.errstate(over="ignore"):
            block[:] = values
        if kind == gguf.GGMLQuantizationType.F16 and not np.isfinite(block).all():
            raise BaseNotExportable(
                f"{name} holds numbers too large for 16 bits of this kind; write q8_0."
            )
    return encoded


def write_merged_safetensors(pairs: Sequence[LoraPair], base: Path, target: Path) -> None:
    """Write a base with an adapter's pairs added as the directory that transformers loads.

    Each of the base's weight files is written with the same names, kinds of numbers and metadata;
    its configuration and tokenizer are copied.

    Args:
        target: An empty directory.

    Raises: AdapterNotExportable, BaseNotExportable.
    """
    files = weight_files(base)
    weights = map_weights(files)
    config = read_config(base)
    if is_known(config):  # of other families stacks alone are not known, and no pair fits one
        pairs = unstack(pairs, Architecture(config))
    matched = match_pairs(weights, pairs)
    for file in files:
        _write_file(file, target / file.name, weights, matched)
    for file in sorted(base.iterdir()):
        if file.suffix in _COPIED_SUFFIXES and file.name != FETCHED_MARKER:
            shutil.copyfile(file, target / file.name)


def _write_file(
    file: Path, target: Path, weights: Mapping[str, Weight], pairs: Mapping[str, LoraPair]
) -> None:
    header = read_header(file)
    names = sorted(
        (name for name in header if name != METADATA_KEY),
        key=lambda name: header[name]["data_offsets"],
    )
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with target.open("xb") as opened:
        opened.write(len(encoded).to_bytes(8, "little"))
        opened.write(encoded)
        for name in names:
            _write_weight(opened, MergedWeight(weight=weights[name], pair=pairs.get(name)))


def _write_weight(opened: BinaryIO, merged: MergedWeight) -> None:
    if merged.pair is None:  # not a number is touched
        opened.write(merged.weight.bits.tobytes())
        return
    opened.writelines(
        to_bits(values, merged.weight.dtype).tobytes() for _, values in merged.blocks()
    )
