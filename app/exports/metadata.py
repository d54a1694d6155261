"""What a GGUF file says of a model beside its weights: copied from the base's own, or written.

The base's own GGUF knows its tokenizer best, so what it says is taken as it stands. Where there is
none, configuration and tokenizer are described as far as both are known here. Must not know weights
or adapters.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from app.errors import BaseNotExportable
from app.exports.architectures import Architecture
from app.exports.tokenizer import describe_tokenizer

GIVE_BASE_GGUF = "put the base's own GGUF file beside its config.json, or name it (--base-gguf)"

_OF_THE_FILE = frozenset({
    gguf.Keys.General.ARCHITECTURE, gguf.Keys.General.FILE_TYPE, gguf.Keys.General.NAME,
    gguf.Keys.General.QUANTIZATION_VERSION, gguf.Keys.General.ALIGNMENT,
})  # fmt: skip
_OF_OTHER_PARTS = ("GGUF.", "split.", "quantize.")
"""Beginnings of keys that are about that file alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One fact, as gguf writes it."""

    key: str
    value: Any
    type: gguf.GGUFValueType
    sub_type: gguf.GGUFValueType | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """What a base's GGUF file holds beside the weights that are written anew.

    Attributes:
        shapes: Of that file's weights, as torch has them; empty where there is no such file.
        constants: Weights that are no model's own, such as factors of the rotation.
    """

    entries: tuple[Entry, ...]
    shapes: Mapping[str, tuple[int, ...]]
    constants: Mapping[str, NDArray[np.float32]]


def read_description(file: Path, architecture: Architecture) -> Description:
    """What the base's own GGUF file says. Raises: BaseNotExportable: it is of another family."""
    try:
        reader = gguf.GGUFReader(file)
        named = reader.fields[gguf.Keys.General.ARCHITECTURE].contents()
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise BaseNotExportable(f"{file.name} cannot be read as GGUF: {error}") from error
    if named != architecture.name:
        raise BaseNotExportable(
            f"{file.name} is of the architecture {named}, and the base of {architecture.name}."
        )
    return Description(
        entries=tuple(_entries(reader)),
        shapes={
            tensor.name: tuple(int(size) for size in reversed(tensor.shape))
            for tensor in reader.tensors
        },
        constants={
            tensor.name: np.array(tensor.data, dtype=np.float32)
            for tensor in reader.tensors
            if tensor.name.startswith("rope_")
            and tensor.tensor_type == gguf.GGMLQuantizationType.F32
        },
    )


def _entries(reader: gguf.GGUFReader) -> Iterator[Entry]:
    for key, found in reader.fields.items():
        if key in _OF_THE_FILE or key.startswith(_OF_OTHER_PARTS):
            continue
        type_ = found.types[0]
        sub_type = found.types[-1] if type_ == gguf.GGUFValueType.ARRAY else None
        yield Entry(key=key, value=found.contents(), type=type_, sub_type=sub_type)


def describe(base: Path, architecture: Architecture, *, rows: int) -> Description:
    """What can be said of a base that has no GGUF file, by its configuration and tokenizer.

    Args:
        rows: Of its embeddings.

    Raises: BaseNotExportable: The tokenizer, or how it turns positions, is not known here.
    """
    writer = gguf.GGUFWriter(None, architecture.name)
    constants = _describe_model(writer, architecture, rows=rows)
    try:
        describe_tokenizer(writer, base, rows=rows)
    except BaseNotExportable as error:
        raise BaseNotExportable(f"{error.message}; {GIVE_BASE_GGUF}.") from error
    return Description(
        entries=tuple(
            Entry(key=key, value=found.value, type=found.type, sub_type=found.sub_type)
            for key, found in writer.kv_data[0].items()
            if key not in _OF_THE_FILE
        ),
        shapes={},
        constants=constants,
    )


def _describe_model(
    writer: gguf.GGUFWriter, architecture: Architecture, *, rows: int
) -> dict[str, NDArray[np.float32]]:
    config, demand = architecture.config, architecture.demand
    heads, width = int(demand("num_attention_heads")), int(demand("hidden_size"))
    head_width = int(config.get("head_dim") or width // heads)
    if config.get("query_pre_attn_scalar", head_width) != head_width:
        raise BaseNotExportable(
            "The base scales its queries by another number than the width of a head, which GGUF "
            f"says nowhere; {GIVE_BASE_GGUF}."
        )
    if config.get("norm_topk_prob") is False:
        raise BaseNotExportable(
            "The base does not bring its chosen experts' weights to a sum of one, which llama.cpp "
            "does."
        )
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_block_count(architecture.blocks)
    writer.add_context_length(int(demand("max_position_embeddings")))
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(int(demand("intermediate_size")))
    writer.add_head_count(heads)
    writer.add_head_count_kv(int(config.get("num_key_value_heads") or heads))
    writer.add_key_length(head_width)
    writer.add_value_length(head_width)
    writer.add_layer_norm_rms_eps(float(demand("rms_norm_eps")))
    writer.add_vocab_size(rows)
    rotated = int(head_width * float(config.get("partial_rotary_factor") or 1.0))
    writer.add_rope_dimension_count(rotated)
    for key, name in architecture.family.extras.items():
        value = architecture.find(name)
        if value is not None:
            add = writer.add_uint32 if isinstance(value, int) else writer.add_float32
            add(f"{architecture.name}.{key}", value)
    return _describe_rotation(writer, config, rotated)


def _describe_rotation(
    writer: gguf.GGUFWriter, config: Mapping[str, Any], rotated: int
) -> dict[str, NDArray[np.float32]]:
    """How positions are turned, by `rope_parameters` or the older `rope_scaling`."""
    found = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if "full_attention" in found:  # one for each kind of layer; llama.cpp knows the other
        found = found["full_attention"]
    theta = float(found.get("rope_theta") or config.get("rope_theta") or 10000.0)
    kind = str(found.get("rope_type") or found.get("type") or "default")
    writer.add_rope_freq_base(theta)
    if kind == "default":
        return {}
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(found["factor"]))
        return {}
    if kind == "llama3":
        return {"rope_freqs.weight": _llama3_factors(found, theta, rotated)}
    raise BaseNotExportable(
        f"The base turns positions by {kind!r}, which is not described here; {GIVE_BASE_GGUF}."
    )


def _llama3_factors(found: Mapping[str, Any], theta: float, rotated: int) -> NDArray[np.float32]:
    """What each frequency is divided by, as transformers' `_compute_llama3_parameters` has it."""
    factor = float(found.get("factor", 8.0))
    low, high = float(found.get("low_freq_factor", 1.0)), float(found.get("high_freq_factor", 4.0))
    reach = float(found.get("original_max_position_embeddings", 8192))
    lengths = 2 * np.pi * theta ** (np.arange(0, rotated, 2, dtype=np.float64) / rotated)
    smooth = (reach / lengths - low) / (high - low)
    between = 1.0 / ((1.0 - smooth) / factor + smooth)
    factors = np.where(
        lengths < reach / high, 1.0, np.where(lengths > reach / low, factor, between)
    )
    return factors.astype(np.float32)


def read_config(base: Path) -> dict[str, Any]:
    """A base's configuration. Raises: BaseNotExportable."""
    try:
        found = json.loads((base / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BaseNotExportable(f"The base's config.json cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise BaseNotExportable("The base's config.json is no object.")
    return found
